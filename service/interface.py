"""What the gateway knows of an engine: models and versions to lease, signatures, and answers.

No engine, transport or framework is imported here; local and remote engines, and the fakes of the tests, fit the
same two protocols.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from service.errors import SignpostError

Array = npt.NDArray[Any]

DEFAULT_SIGNATURE: Final = "serving_default"
# An image classifier's output that says, 0 to 1, how like the images that it learned from each image is; from the bound
# on the model knows what it sees. The bound is the same for every model, so whoever has the answer needs nothing else.
IN_DOMAIN: Final = "in_domain"
IN_DOMAIN_FROM: Final = 0.5
# The runtime that serves where no other does, and that others are compared with.
REFERENCE: Final = "tensorflow"


@dataclass(frozen=True)
class TensorSpec:
    """A named input or output of a signature.

    Attributes:
        name: the name by which clients know it.
        tensor: its name inside the graph, as TF Serving's metadata prints it.
        dtype_name: TensorFlow's name of its element type, e.g. `DT_UINT8`.
        dtype: NumPy's element type; object for strings.
        shape: sizes with -1 where any size is taken; None where even the rank is open.
    """

    name: str
    tensor: str
    dtype_name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of `shape` can be fed to it."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(w in (-1, s) for s, w in zip(shape, self.shape, strict=True))


@dataclass(frozen=True)
class ImageSize:
    """The pixels that an image classifier takes: uint8 (height, width, channels)."""

    height: int
    width: int
    channels: int


@dataclass(frozen=True)
class Signature:
    """A SavedModel's named function: what goes in and what comes out, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = "tensorflow/serving/predict"
    # Values of inputs that a request may leave out.
    defaults: Mapping[str, Array] = field(default_factory=dict, compare=False)

    @cached_property
    def batchable(self) -> bool:
        """Whether its declared shapes leave the first dimension of every input and output open, as that of a batch."""
        return bool(self.inputs) and all(
            spec.shape is None or spec.shape[:1] == (-1,) for spec in (*self.inputs.values(), *self.outputs.values())
        )

    def has_rows(self, inputs: Mapping[str, Array]) -> bool:
        """Whether inputs are whole, of the declared shapes, and have one number of rows, at least one."""
        rows = {len(array) if array.ndim else 0 for array in inputs.values()}
        return (
            len(rows) == 1
            and min(rows) > 0
            and len(inputs) == len(self.inputs)
            and all(self.inputs[name].fits(array.shape) for name, array in inputs.items())
        )

    @cached_property
    def image(self) -> ImageSize | None:
        """The size of image it takes, if it has the form of an image classifier (Contract 1 of the design)."""
        if set(self.inputs) != {"image"} or not {"scores", "classes"} <= set(self.outputs):
            return None
        image, scores, classes = self.inputs["image"], self.outputs["scores"], self.outputs["classes"]
        if image.dtype_name != "DT_UINT8" or scores.dtype_name != "DT_FLOAT" or classes.dtype_name != "DT_STRING":
            return None
        shape = image.shape
        if shape is None or len(shape) != 4 or shape[0] != -1 or min(shape[1:3]) < 1 or shape[3] not in (1, 3):
            return None
        if any(spec.shape is None or len(spec.shape) != 2 or spec.shape[0] != -1 for spec in (scores, classes)):
            return None
        return ImageSize(*shape[1:])

    @cached_property
    def tells_strangers(self) -> bool:
        """Whether it is an image classifier that says how well it knows what it sees (`IN_DOMAIN`)."""
        told = self.outputs.get(IN_DOMAIN)
        return self.image is not None and told is not None and told.dtype_name == "DT_FLOAT" and told.shape == (-1,)

    @cached_property
    def image_outputs(self) -> tuple[str, ...]:
        """The outputs that are computed to say what images show: the scores, and `IN_DOMAIN` where it has that."""
        return ("scores", IN_DOMAIN) if self.tells_strangers else ("scores",)


@dataclass(frozen=True)
class Call:
    """What goes with a request's inputs.

    Attributes:
        deadline: time (`time.monotonic()`) after which nobody waits for the answer.
        signature_name: which signature to run.
        outputs: the outputs wanted; empty means all.
        abandoned: tells whether the caller has left; asked just before the request would run.
        request_id: the request's ID, which goes along to an engine elsewhere.
        trace: what goes along too where the request is traced, e.g. `traceparent`, as names and values.
        limit: what sets the deadline, for people.
        joined: whether its rows are those of several requests, joined by a gateway.
    """

    deadline: float
    signature_name: str = DEFAULT_SIGNATURE
    outputs: tuple[str, ...] = ()
    abandoned: Callable[[], bool] | None = None
    request_id: str = ""
    trace: tuple[tuple[str, str], ...] = ()
    limit: str = "the deadline"
    joined: bool = False


@dataclass(frozen=True)
class Answer:
    """What a servable answers.

    Attributes:
        outputs: an array for each output by name.
        queue_s: seconds between the request's arrival and the start of its (first) batch.
        infer_s: seconds in the model.
        batch_rows: rows of the (largest) batch that it ran in.
    """

    outputs: Mapping[str, Array]
    queue_s: float = 0.0
    infer_s: float = 0.0
    batch_rows: int = 1

    @property
    def rows(self) -> int:
        """Instances that are answered; 1 where the outputs have no such dimension."""
        return max((len(array) for array in self.outputs.values() if array.ndim), default=1)


@dataclass(frozen=True)
class RunBy:
    """What computes the default signature of a version.

    Attributes:
        runtime: its name.
        gain: how many times as fast as TensorFlow it was, on this host; 1 where that was not measured.
        why: why TensorFlow serves, where another runtime was asked for or tried; or why the int8 form of the version
            does not.
    """

    runtime: str = REFERENCE
    gain: float = 1.0
    why: str = ""

    def __str__(self) -> str:
        """In words."""
        if self.gain != 1.0:
            return f"{self.runtime}, {self.gain:.2f} times as fast as TensorFlow" + (
                f" ({self.why})" if self.why else ""
            )
        return f"{self.runtime} ({self.why})" if self.why else self.runtime


@dataclass(frozen=True)
class Queue:
    """What waits for a servable in this process, and how it is batched now.

    Attributes:
        rows: instances that wait for a batch.
        wait_s: how long one more would wait, by the rate that was measured.
        batch_rows: instances of a batch at most.
        batch_wait_s: seconds that a batch of one waits for another at most.
        running: batches that run.
        run_by: what computes the default signature; None where a process elsewhere does, which tells it.
    """

    rows: int = 0
    wait_s: float = 0.0
    batch_rows: int = 0
    batch_wait_s: float = 0.0
    running: int = 0
    run_by: RunBy | None = None


class Servable(Protocol):
    """One loaded version, ready to run."""

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    @property
    def version(self) -> int:
        """Number of the version."""
        ...

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of an image classifier, in the order of its scores; empty for any other model."""
        ...

    @property
    def unjoined(self) -> Mapping[str, str]:
        """Why requests of a signature are not joined, by its name; those of a signature that is not in it are."""
        ...

    @property
    def run_by(self) -> RunBy:
        """What computes its default signature."""
        ...

    def check_room(self, call: Call) -> None:
        """Make sure that a call would be taken now; asked before the work of making its inputs.

        Raises:
            Overloaded: too many wait, or the call's deadline would pass while it waits.
            Unavailable: it is being unloaded.
        """
        ...

    def predict(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a signature on named inputs; once it has returned (not raised), their memory is the caller's again.

        Raises:
            NotFound: no such signature.
            InvalidRequest: inputs that do not fit the signature.
            Overloaded, DeadlineExceeded, Abandoned, Unavailable, ModelFailed: as their names say.
        """
        ...

    def score_all(self, images: Sequence[Array], calls: Sequence[Call]) -> list[Answer | SignpostError]:
        """Score the images of several requests, so that they can share a batch; only for image classifiers.

        Args:
            images: of each request, uint8 (N, H, W, C) as the default signature takes them; they are not checked.
            calls: the call of each, which asks for `scores` of the default signature.

        Returns:
            For each request its answer, with that signature's `image_outputs`, or the error that `predict` would raise.
        """
        ...


class State(IntEnum):
    """State of a version, with TF Serving's names and numbers (`ModelVersionStatus.State`)."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """State of one version, and why it failed if it did."""

    version: int
    state: State
    error: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """Which servable a request asks for: a model, and at most one of version and label.

    Attributes:
        name: the model's name.
        version: number of a version.
        label: a label of the model.
        request_id: the request's ID, where it is one that a canary may answer.
    """

    name: str
    version: int | None = None
    label: str | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        """The way TF Serving's error texts print it: `Specific(m, 2)` or `Latest(m)`."""
        if self.label is not None:
            return f"Label({self.name}, {self.label})"
        return f"Latest({self.name})" if self.version is None else f"Specific({self.name}, {self.version})"


@dataclass(frozen=True)
class Status:
    """What an engine holds.

    Attributes:
        models: for each model the state of its versions, the highest version first.
        reasons: for models without a version, what is wrong with their folders. Those that are not among `models`
            merely lie in the store, laid out wrongly; readiness does not wait for them.
        waiting: why nobody can say which models there are; empty where somebody can.
    """

    models: Mapping[str, tuple[VersionStatus, ...]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    waiting: str = ""

    @property
    def ready(self) -> bool:
        """At least one model, and each with an AVAILABLE version."""
        return bool(self.models) and all(
            any(version.state is State.AVAILABLE for version in versions) for versions in self.models.values()
        )


class Engine(Protocol):
    """Runs servables."""

    @property
    def has_canaries(self) -> bool:
        """Whether a request's ID has a say in which version answers it, or is compared."""
        ...

    def start(self) -> None:
        """Begin to load, or to connect; called once, in the process that will use it."""
        ...

    def lease(self, spec: ModelSpec) -> AbstractContextManager[Servable]:
        """Borrow a servable; it stays loaded until the context ends.

        Raises:
            NotFound: no such model, version or label.
            Unavailable: known, but not ready to answer.
        """
        ...

    def status(self) -> Status:
        """The state of every version of every model."""
        ...

    def queued(self, model: str | None = None) -> Mapping[tuple[str, int], Queue]:
        """What waits for a batch in this process now, by model and version; of one model, or of all."""
        ...

    def close(self) -> None:
        """Stop; waits a bounded time for what is running."""
        ...
