"""One version behind a remote engine: signatures, class names, and a batcher in front of each call.

The batcher gathers the concurrent requests of this process into one call. It sits in the threads of its callers, as in
the local engine, and starts none.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from service import protocol
from service.engine.batched_servable import BatchedServable
from service.engine.batching.batcher import Batcher, Unjoinable
from service.engine.batching.parameters import BatchingParameters
from service.engine.classifier import blank, read_classes
from service.engine.remote.asked import Asked
from service.errors import InvalidRequest, ModelFailed, Unavailable, UnfitSignature
from service.hop import messages
from service.interface import DEFAULT_SIGNATURE, Answer, Array, Call, Signature
from service.telemetry.carried import Metadata, carried

# Makes a call and returns the outputs; given up at the deadline (`time.monotonic()`).
Send = Callable[[Asked, float], dict[str, Array]]


class RemoteServable(BatchedServable):
    """A version that a remote engine holds; see `service.interface.Servable`.

    Args:
        name: the model's name.
        version: the version's number; every call asks for it by this number.
        signatures: as the engine's metadata tells them.
        send: makes the call; raises our errors.
        parameters: how many requests one call gathers, and how many calls run at the same time; None sends each by
            itself.
        unjoined: why requests of a signature must not be joined, by its name.
    """

    def __init__(
        self,
        name: str,
        version: int,
        *,
        signatures: Mapping[str, Signature],
        send: Send,
        parameters: BatchingParameters | None,
        unjoined: Mapping[str, str],
    ) -> None:
        """Make an empty queue for each signature that is joined; `learn_classes` completes an image classifier."""
        super().__init__(name, version, signatures=signatures, unjoined=unjoined)
        self._send = send
        if parameters is not None:
            self.batchers = {key: _CallBatcher(self, key, parameters) for key in signatures if key not in unjoined}

    def learn_classes(self, deadline: float) -> None:
        """Ask for the class names of an image classifier with one image of blank pixels.

        Raises:
            Unavailable: the answer does not have the form of a classifier's.
            SignpostError: the call failed.
        """
        signature = self.signatures.get(DEFAULT_SIGNATURE)
        size = signature.image if signature is not None else None
        if size is None:
            return
        answer = self.call({"image": blank(size, 1)}, DEFAULT_SIGNATURE, ("classes", "scores"), deadline)
        try:
            self.classes = read_classes(answer)
        except ModelFailed as error:
            raise Unavailable(f"{self.name} version {self.version} can't be served: {error}") from error

    def call(
        self,
        inputs: Mapping[str, Array],
        signature_name: str,
        outputs: tuple[str, ...],
        deadline: float,
        metadata: Metadata = (),
    ) -> dict[str, Array]:
        """Make one call, past the batchers.

        Args:
            inputs: as the signature takes them.
            signature_name: which signature to run.
            outputs: those wanted; empty means all.
            deadline: time (`time.monotonic()`) at which the call is given up.
            metadata: what goes along with it.

        Raises:
            SignpostError: the engine's error in our words.
        """
        specs = self.signatures[signature_name].outputs
        gives_numbers = all(messages.carries(specs[name].dtype) for name in outputs or specs)
        asked = Asked(self.name, self.version, signature_name, inputs, outputs, metadata, gives_numbers)
        answer = self._send(asked, deadline)
        if lacking := set(outputs) - answer.keys():
            raise ModelFailed(f"The engine's answer lacks the output {min(lacking)!r}.")
        return answer

    def run_alone(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a call by itself."""
        started_s = time.monotonic()
        outputs = self.call(inputs, call.signature_name, call.outputs, call.deadline, carried([call]))
        return Answer(outputs, infer_s=time.monotonic() - started_s)


class _CallBatcher(Batcher):
    """A batcher whose batch is one call, given up when nobody in the batch is waiting."""

    def __init__(self, servable: RemoteServable, signature_name: str, parameters: BatchingParameters) -> None:
        super().__init__(
            lambda _inputs, _outputs: {}, parameters, unjoinable=partial(servable.stop_joining, signature_name)
        )
        self.pace = parameters.make_pace(search=False)  # what a call takes is not what the model takes
        self._servable = servable
        self._signature_name = signature_name

    def invoke(
        self, inputs: Mapping[str, Array], outputs: tuple[str, ...], calls: Sequence[Call], joined: bool
    ) -> Mapping[str, Array]:
        deadline = max(call.deadline for call in calls)
        metadata = [*carried(calls), *([protocol.JOINED] if joined else [])]
        try:
            return self._servable.call(inputs, self._signature_name, outputs, deadline, metadata)
        except UnfitSignature as error:
            if joined:  # the engine has found meanwhile that it must not be
                why = str(error).rpartition(protocol.NOT_JOINED)[2].rstrip(".")
                raise Unjoinable(f"the engine says: {why}") from error
            raise

    def isolates(self, error: Exception) -> bool:
        """An engine that is gone, full or too slow is so for each request; only what one of them may cause is."""
        return isinstance(error, InvalidRequest | ModelFailed)
