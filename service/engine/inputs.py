"""Do a call's inputs fit a signature: checked by every engine before anything runs, in the same words."""

from collections.abc import Iterable, Mapping, Set

from service import protocol
from service.engine.interface import Array, Call, Servable, Signature
from service.errors import InvalidRequest, NotFound


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
    """Make sure that named inputs fit a signature in number, name, element type and shape.

    Raises:
        InvalidRequest: they do not; the message says which and what would.
    """
    if set(inputs) != set(signature.inputs):
        raise InvalidRequest(_wrong_names(inputs.keys(), signature.inputs.keys()))
    for name, array in inputs.items():
        spec = signature.inputs[name]
        if array.dtype != spec.dtype:
            found = protocol.dtype_name(array.dtype)
            raise InvalidRequest(f"Input {name!r} is {found}; the signature takes {spec.dtype_name}.")
        if not spec.fits(array.shape):
            raise InvalidRequest(
                f"Input {name!r} has the shape {list(array.shape)}; the signature takes {list(spec.shape or ())}."
            )


def _check_outputs(outputs: tuple[str, ...], signature: Signature) -> None:
    for number, name in enumerate(outputs):
        if name not in signature.outputs:
            raise InvalidRequest(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_listed(signature.outputs)}."
            )
        if name in outputs[:number]:
            raise InvalidRequest(f"duplicate output tensor alias: {name}")


def _wrong_names(found: Set[str], wanted: Set[str]) -> str:
    """What TF Serving says, as its clients may look for it, and then what would be right."""
    if len(found) != len(wanted):
        says = (
            f"input size does not match signature: {len(found)}!={len(wanted)} "
            f"len({_listed(found)}) != len({_listed(wanted)}). Sent extra: {_listed(found - wanted)}. "
            f"Missing but required: {_listed(wanted - found)}."
        )
    else:
        says = (
            f"input tensor alias not found in signature: {min(found - wanted)}. "
            f"Inputs expected to be in the set {_listed(wanted)}."
        )
    return f"{says} The signature takes the inputs {sorted(wanted)}, not {sorted(found)}; send each by its name."


def _listed(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
