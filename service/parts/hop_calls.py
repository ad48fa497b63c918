"""Predict for this service's own gateways, over the hop: what it does and says is what it does and says over gRPC."""

import logging
from collections.abc import Callable, Mapping

from service import protocol
from service.errors import SignpostError, one_line
from service.hop.messages import HopError, Request
from service.interface import DEFAULT_SIGNATURE, Array, Call, Engine, ModelSpec
from service.rpc.errors import UNFORESEEN, code_of
from service.rpc.exchange import Exchange, Watch
from service.rpc.prediction import ROUTE, check_signature

log = logging.getLogger(__name__)


class HopPrediction:
    """Runs the calls of a `service.hop.server.HopServer`.

    Args:
        engine: what answers.
        watch: who is told of each call.
    """

    def __init__(self, engine: Engine, watch: Watch) -> None:
        """Keep what the calls need."""
        self._engine = engine
        self._watch = watch

    def __call__(
        self, request: Request, inputs: Mapping[str, Array], has_left: Callable[[], bool]
    ) -> Mapping[str, Array]:
        """Run a call.

        Args:
            request: what is asked for.
            inputs: by name.
            has_left: whether the gateway has given the call up.

        Raises:
            HopError: it failed.
        """
        try:
            return self._run(request, inputs, has_left)
        except SignpostError as error:
            retry_after_s = getattr(error, "retry_after_s", None)
            raise HopError(code_of(error).name, one_line(str(error)), retry_after_s) from error
        except Exception as error:
            log.exception("A gateway's call failed unexpectedly.")
            raise HopError("INTERNAL", UNFORESEEN) from error

    def _run(self, request: Request, inputs: Mapping[str, Array], has_left: Callable[[], bool]) -> Mapping[str, Array]:
        metadata = dict(request.metadata)
        current = Exchange(self._watch, ROUTE + "Predict", metadata, is_own=True, protocol_name="hop")
        outputs: Mapping[str, Array] = {}
        with (
            current.told(lambda: (_size(inputs), _size(outputs))),
            self._engine.lease(ModelSpec(request.model, request.version, request_id=current.request_id)) as servable,
        ):
            current.served_by(servable)
            call = Call(
                request.deadline,
                request.signature_name or DEFAULT_SIGNATURE,
                tuple(request.outputs),
                has_left,
                current.request_id,
                current.trace.carried if current.trace is not None else (),
                "the call's deadline",
                metadata.get(protocol.JOINED[0]) == protocol.JOINED[1],
            )
            check_signature(servable, call)
            answer = servable.predict(inputs, call)
            current.ran(answer)
            outputs = answer.outputs
        return outputs


def _size(arrays: Mapping[str, Array]) -> int:
    return sum(array.nbytes for array in arrays.values())
