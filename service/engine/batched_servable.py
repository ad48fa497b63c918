"""What local and remote servables have in common: a batcher for each signature whose requests are joined.

A request of any other signature, or whose shapes are others than the signature declares, runs by itself and gets just
what the model gives.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from service.engine.batching.batcher import Batcher
from service.engine.classifier import check_scores, classify
from service.engine.inputs import check_call
from service.errors import SignpostError
from service.interface import DEFAULT_SIGNATURE, Answer, Array, Call, Queue, RunBy, Signature

log = logging.getLogger(__name__)

# Why requests are not joined, whatever the engine.
BATCHING_IS_OFF = "batching is off (--enable_batching=false)"
NOT_OPEN = "the first dimension of a declared input or output is not variable"

# Told that requests of a signature are not joined any more: model, version, signature.
Stopped = Callable[[str, int, str], None]


class BatchedServable(ABC):
    """A servable (see `service.interface.Servable`); a subclass fills `batchers` and says how to run alone.

    Args:
        name: the model's name.
        version: the version's number.
        signatures: by name.
        unjoined: why requests of a signature are not joined, by its name.
        stopped: told of each signature whose requests are no longer joined.

    Attributes:
        batchers: those of the signatures whose requests are joined.
        run_by: what computes the default signature.
    """

    def __init__(
        self,
        name: str,
        version: int,
        *,
        signatures: Mapping[str, Signature],
        unjoined: Mapping[str, str],
        stopped: Stopped = lambda *_: None,
    ) -> None:
        """It has no batcher yet, and is not an image classifier until its `classes` are known."""
        self.name = name
        self.version = version
        self.signatures = signatures
        self.unjoined = unjoined
        self.classes: tuple[str, ...] = ()
        self.run_by = RunBy()
        self.batchers: Mapping[str, Batcher] = {}
        self._stopped = stopped

    @property
    def queue(self) -> Queue:
        """What waits in this process now, over all signatures; how it is batched, for the one that clients use most."""
        rows = sum(batcher.queued_rows for batcher in self.batchers.values())
        wait_s = max((batcher.wait_s for batcher in self.batchers.values()), default=0.0)
        running = sum(batcher.running for batcher in self.batchers.values())
        chosen = self.batchers.get(DEFAULT_SIGNATURE) or next(iter(self.batchers.values()), None)
        most, fills_s = (0, 0.0) if chosen is None else (chosen.most_rows, chosen.pace.wait_s)
        return Queue(rows, wait_s, most, fills_s, running)

    def check_room(self, call: Call) -> None:
        """Make sure that a call would be taken now; see `Servable.check_room`."""
        batcher = self.batchers.get(call.signature_name)
        if batcher is not None:
            batcher.check_room(call)

    def predict(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a signature; see `Servable.predict`."""
        check_call(self, inputs, call)
        if call.signature_name == DEFAULT_SIGNATURE and self.classes:
            signature = self.signatures[call.signature_name]
            return classify(partial(self._run, inputs), call, signature, self.classes, len(inputs["image"]))
        return self._run(inputs, call)

    def score_all(self, images: Sequence[Array], calls: Sequence[Call]) -> list[Answer | SignpostError]:
        """Score the images of several requests; see `Servable.score_all`."""
        batcher = self.batchers.get(DEFAULT_SIGNATURE)
        outputs = self.signatures[DEFAULT_SIGNATURE].image_outputs
        whole = calls if outputs == ("scores",) else [replace(call, outputs=outputs) for call in calls]
        wanted = [({"image": pixels}, call) for pixels, call in zip(images, whole, strict=True)]
        if batcher is not None:
            outcomes = batcher.submit_all(wanted)
        else:
            outcomes = [_outcome(partial(self.run_alone, inputs, call)) for inputs, call in wanted]
        return [check_scores(outcome, len(pixels)) for outcome, pixels in zip(outcomes, images, strict=True)]

    def stop_joining(self, signature_name: str, why: str) -> None:
        """Run each request of a signature by itself from now on."""
        batcher = self.batchers.get(signature_name)
        if batcher is None or signature_name in self.unjoined:
            return
        # Others read these without a lock, so each is replaced as a whole.
        self.unjoined = {**self.unjoined, signature_name: why}
        self.batchers = {name: each for name, each in self.batchers.items() if name != signature_name}
        batcher.stop_joining()
        log.error(
            "%s version %d: requests of the signature %r are no longer joined in batches: %s.",
            self.name, self.version, signature_name, why,
        )  # fmt: skip
        self._stopped(self.name, self.version, signature_name)

    def close(self) -> None:
        """Fail what waits."""
        for batcher in self.batchers.values():
            batcher.close()

    @abstractmethod
    def run_alone(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a call by itself."""

    def _run(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        batcher = self.batchers.get(call.signature_name)
        if batcher is not None and self.signatures[call.signature_name].has_rows(inputs):
            return batcher.submit(inputs, call)
        return self.run_alone(inputs, call)


def _outcome(run: Callable[[], Answer]) -> Answer | SignpostError:
    try:
        return run()
    except SignpostError as error:
        return error
