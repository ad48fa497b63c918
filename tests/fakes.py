"""Engines and servables without TensorFlow, fitting `service.interface`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from service.errors import NotFound, SignpostError
from service.interface import (
    DEFAULT_SIGNATURE,
    Answer,
    Array,
    Call,
    ModelSpec,
    Queue,
    RunBy,
    Servable,
    Signature,
    State,
    Status,
    TensorSpec,
    VersionStatus,
)
from service.near_misses import not_found

_DTYPES: Mapping[str, Any] = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_HALF": np.float16,
    "DT_INT8": np.int8,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_UINT8": np.uint8,
    "DT_UINT64": np.uint64,
    "DT_BOOL": np.bool_,
    "DT_COMPLEX64": np.complex64,
    "DT_STRING": np.object_,
}

Predict = Callable[[Mapping[str, Array], Call], Mapping[str, Array]]


def spec(name: str, dtype_name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, f"{name}:0", dtype_name, np.dtype(_DTYPES[dtype_name]), shape)


def signature(inputs: list[TensorSpec], outputs: list[TensorSpec]) -> Signature:
    return Signature({each.name: each for each in inputs}, {each.name: each for each in outputs})


def classifier_signature(
    height: int = 2, width: int = 3, channels: int = 3, classes: int = 2, *, tells: bool = False
) -> Signature:
    return signature(
        [spec("image", "DT_UINT8", -1, height, width, channels)],
        [
            spec("classes", "DT_STRING", -1, classes),
            spec("scores", "DT_FLOAT", -1, classes),
            *([spec("in_domain", "DT_FLOAT", -1)] if tells else []),
        ],
    )


@dataclass
class FakeServable:
    """A servable whose answers a function gives; it remembers what it was asked."""

    run: Predict
    signatures: Mapping[str, Signature]
    name: str = "fake"
    version: int = 1
    classes: tuple[str, ...] = ()
    asked: list[tuple[Mapping[str, Array], Call]] = field(default_factory=list)
    closed: bool = False
    queue: Queue = field(default_factory=Queue)
    unjoined: Mapping[str, str] = field(default_factory=dict)
    run_by: RunBy = field(default_factory=RunBy)
    full: Exception | None = None
    tells: bool = False

    def predict(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        self.asked.append((inputs, call))
        return Answer(self.run(inputs, call), queue_s=0.001, infer_s=0.002, batch_rows=4)

    def score_all(self, images: Sequence[Array], calls: Sequence[Call]) -> list[Answer | SignpostError]:
        outcomes: list[Answer | SignpostError] = []
        for pixels, call in zip(images, calls, strict=True):
            call = replace(call, outputs=("scores", "in_domain")) if self.tells else call
            try:
                outcomes.append(self.predict({"image": pixels}, call))
            except SignpostError as error:
                outcomes.append(error)
        return outcomes

    def check_room(self, call: Call) -> None:  # noqa: ARG002 - as the interface has it
        if self.full is not None:
            raise self.full

    def close(self) -> None:
        self.closed = True


def classifier(
    name: str = "fake", version: int = 1, classes: tuple[str, ...] = ("dark", "bright"), *, tells: bool = False
) -> FakeServable:
    """Two classes: the brightness of an image is the score of the last one.

    One that `tells` what it knows does not know images that are quite black.
    """

    def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        bright = inputs["image"].mean(axis=(1, 2, 3)) / 255
        scores = np.zeros((len(bright), len(classes)), dtype=np.float32)
        scores[:, 0], scores[:, -1] = 1 - bright, bright
        names = np.broadcast_to(np.array([each.encode() for each in classes], dtype=np.object_), scores.shape)
        outputs = {"classes": names, "scores": scores}
        if tells:
            outputs["in_domain"] = np.where(bright > 0, np.float32(0.9), np.float32(0.1))
        return {key: outputs[key] for key in call.outputs or outputs}

    signatures = {DEFAULT_SIGNATURE: classifier_signature(classes=len(classes), tells=tells)}
    return FakeServable(run, signatures, name, version, classes=classes, tells=tells)


class FakeEngine:
    """Holds the servables it is given; its `fault`, where set, is raised by every lease."""

    has_canaries = False

    def __init__(self, *servables: FakeServable, labels: Mapping[str, int] | None = None) -> None:
        self.servables = list(servables)
        self.labels = dict(labels or {})
        self.fault: Exception | None = None
        self.states: dict[str, tuple[VersionStatus, ...]] | None = None
        self.reasons: dict[str, str] = {}
        self.leases = 0

    def start(self) -> None:
        """It is always ready."""

    @contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[Servable]:
        if self.fault is not None:
            raise self.fault
        version = self.labels.get(spec.label, -1) if spec.label is not None else spec.version
        found = [s for s in self.servables if s.name == spec.name and version in (None, s.version)]
        if not found:
            raise NotFound(not_found(spec, ()))
        self.leases += 1
        try:
            yield max(found, key=lambda servable: servable.version)
        finally:
            self.leases -= 1

    def queued(self, model: str | None = None) -> Mapping[tuple[str, int], Queue]:
        return {(each.name, each.version): each.queue for each in self.servables if model in (None, each.name)}

    def status(self) -> Status:
        if self.states is not None:
            return Status(self.states, self.reasons)
        models: dict[str, tuple[VersionStatus, ...]] = {}
        for each in sorted(self.servables, key=lambda servable: -servable.version):
            models[each.name] = (*models.get(each.name, ()), VersionStatus(each.version, State.AVAILABLE))
        return Status(models, self.reasons)

    def close(self) -> None:
        return


class FakeRepository:
    """Remembers what it was asked to load and unload."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, float]] = []

    def load(self, name: str, timeout_s: float) -> None:
        self.asked.append(("load", name, timeout_s))

    def unload(self, name: str, timeout_s: float) -> None:
        self.asked.append(("unload", name, timeout_s))

    def unloaded(self) -> Sequence[str]:
        return ("asleep",)
