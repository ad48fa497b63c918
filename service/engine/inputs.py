"""Do a call's inputs fit a signature: checked by every engine before anything runs, in the same words."""

from collections.abc import Mapping

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
    if unknown := [name for name in call.outputs if name not in signature.outputs]:
        raise InvalidRequest(f"No output {unknown[0]!r}; the signature has {', '.join(signature.outputs)}.")
    return signature


def check_inputs(inputs: Mapping[str, Array], signature: Signature) -> None:
    """Make sure that named inputs fit a signature in number, name, element type and shape.

    Raises:
        InvalidRequest: they do not; the message says which and what would.
    """
    if set(inputs) != set(signature.inputs):
        raise InvalidRequest(
            f"The signature takes the inputs {sorted(signature.inputs)}, not {sorted(inputs)}; send each by its name."
        )
    for name, array in inputs.items():
        spec = signature.inputs[name]
        if array.dtype != spec.dtype:
            found = protocol.dtype_name(array.dtype)
            raise InvalidRequest(f"Input {name!r} is {found}; the signature takes {spec.dtype_name}.")
        if not spec.fits(array.shape):
            raise InvalidRequest(
                f"Input {name!r} has the shape {list(array.shape)}; the signature takes {list(spec.shape or ())}."
            )
