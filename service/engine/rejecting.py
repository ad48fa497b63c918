"""No class for strangers: an engine whose image classifiers give no score to images that they say they do not know.

It stands before any engine, local or remote, so that every protocol answers alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from service.engine.wrapped import WrappedServable
from service.errors import SignpostError
from service.interface import IN_DOMAIN, IN_DOMAIN_FROM, Answer, Array, Call, Engine, ModelSpec, Queue, Servable, Status


class RejectingEngine:
    """An engine that answers 0 for all scores of an image that is not in a model's domain; see `interface.Engine`.

    Models that can't tell are left as they are.

    Args:
        engine: what answers.
    """

    def __init__(self, engine: Engine) -> None:
        """Hold the engine."""
        self._engine = engine

    @property
    def has_canaries(self) -> bool:
        """See `Engine.has_canaries`."""
        return self._engine.has_canaries

    def start(self) -> None:
        """Start the engine."""
        self._engine.start()

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def status(self) -> Status:
        """The state of every version; see `Engine.status`."""
        return self._engine.status()

    def queued(self, model: str | None = None) -> Mapping[tuple[str, int], Queue]:
        """What waits for a batch now; see `Engine.queued`."""
        return self._engine.queued(model)

    @contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[Servable]:
        """Borrow a servable that rejects; see `Engine.lease`."""
        with self._engine.lease(spec) as servable:
            yield _Rejecting(servable)


class _Rejecting(WrappedServable):
    """A servable without scores for strangers."""

    def predict(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        signature = self.signatures.get(call.signature_name)
        wanted = call.outputs or (() if signature is None else tuple(signature.outputs))
        if signature is None or not signature.tells_strangers or "scores" not in wanted:
            return self.inner.predict(inputs, call)
        asked = wanted if IN_DOMAIN in wanted else (*wanted, IN_DOMAIN)
        answer = _rejected(self.inner.predict(inputs, replace(call, outputs=asked)))
        return replace(answer, outputs={name: answer.outputs[name] for name in wanted})

    def score_all(self, images: Sequence[Array], calls: Sequence[Call]) -> list[Answer | SignpostError]:
        outcomes = self.inner.score_all(images, calls)
        return [_rejected(each) if isinstance(each, Answer) else each for each in outcomes]


def _rejected(answer: Answer) -> Answer:
    """The answer with scores of 0 for each image that is not in the domain, where it tells that."""
    in_domain = answer.outputs.get(IN_DOMAIN)
    if in_domain is None:
        return answer
    known = (in_domain >= IN_DOMAIN_FROM)[:, np.newaxis]
    scores = np.where(known, answer.outputs["scores"], np.float32(0))
    return replace(answer, outputs={**answer.outputs, "scores": scores})
