"""Do a call's inputs fit a signature: checked by every engine before anything runs, in the same words."""

from collections.abc import Iterable, Mapping, Set

from service import protocol
from service.errors import InvalidRequest, NotFound
from service.interface import Array, Call, Servable, Signature


def check_call(servable: Servable, inputs: Mapping[str, Array], call: Call) -> Signature:
    """Make sure that a servable can run a call.

    Returns:
        The signature that the call asks for.

    Raises:
        NotFound: the servable has no such signature.
        InvalidRequest: inputs that do not fit it, or an output that it lacks.
    """
    signature = servable.signatures.get(call.signature_name)
    if signature is None:
        raise NotFound(
            f'Serving signature name: "{call.signature_name}" not found in signature def of model {servable.name} '
            f"version {servable.version}; it has {', '.join(servable.signatures)}."
        )
    check_inputs(inputs, signature)
    _check_outputs(call.outputs, signature)
    return signature


def check_inputs(inputs: Mapping[str, Array], signature: Signature) -> None:
    """Make sure that named inputs fit a signature in number, name and element type.

    The shapes that it declares are advice: the graph decides which it takes. Only an image classifier's are checked,
    whose requests are joined without further ado. An input that has a default may be left out.

    Raises:
        InvalidRequest: they do not; the message says which and what would.
    """
    if not signature.inputs.keys() - signature.defaults.keys() <= inputs.keys() <= signature.inputs.keys():
        raise InvalidRequest(_wrong_names(inputs.keys(), signature))
    for name, array in inputs.items():
        spec = signature.inputs[name]
        if array.dtype != spec.dtype:
            found = protocol.dtype_name(array.dtype)
            raise InvalidRequest(f"Input {name!r} is {found}; the signature takes {spec.dtype_name}.")
    if signature.image is not None and (reason := unfit_shape(inputs, signature)):
        raise InvalidRequest(reason)


def unfit_shape(inputs: Mapping[str, Array], signature: Signature) -> str:
    """Which input has another shape than the signature declares, in words; empty if all have theirs."""
    for name, array in inputs.items():
        spec = signature.inputs[name]
        if not spec.fits(array.shape):
            return f"Input {name!r} has the shape {list(array.shape)}; the signature takes {list(spec.shape or ())}."
    return ""


def _check_outputs(outputs: tuple[str, ...], signature: Signature) -> None:
    for number, name in enumerate(outputs):
        if name not in signature.outputs:
            raise InvalidRequest(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_listed(signature.outputs)}."
            )
        if name in outputs[:number]:
            raise InvalidRequest(f"duplicate output tensor alias: {name}")


def _wrong_names(found: Set[str], signature: Signature) -> str:
    """What TF Serving says, as its clients may look for it, and then what would be right."""
    wanted = signature.inputs.keys()
    if len(found) != len(wanted):
        says = (
            f"input size does not match signature: {len(found)}!={len(wanted)} "
            f"len({_listed(found)}) != len({_listed(wanted)}). Sent extra: {_listed(found - wanted)}. "
            f"Missing but required: {_listed(wanted - found - signature.defaults.keys())}."
        )
    else:
        says = (
            f"input tensor alias not found in signature: {min(found - wanted)}. "
            f"Inputs expected to be in the set {_listed(wanted)}."
        )
    optional = f" ({_listed(signature.defaults)} may be left out)" if signature.defaults else ""
    return f"{says} The signature takes the inputs {sorted(wanted)}{optional}, not {sorted(found)}; send each by name."


def _listed(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
