"""A servable around another one, for an engine that stands before another engine."""

from collections.abc import Mapping, Sequence

from service.errors import SignpostError
from service.interface import Answer, Array, Call, RunBy, Servable, Signature


class WrappedServable:
    """Is what it holds in every respect; a subclass says what it does otherwise.

    Args:
        inner: the servable that answers.
    """

    def __init__(self, inner: Servable) -> None:
        """Hold it."""
        self.inner = inner

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.inner.name

    @property
    def version(self) -> int:
        """Number of the version."""
        return self.inner.version

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self.inner.signatures

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of an image classifier."""
        return self.inner.classes

    @property
    def unjoined(self) -> Mapping[str, str]:
        """Why requests of a signature are not joined; see `Servable.unjoined`."""
        return self.inner.unjoined

    @property
    def run_by(self) -> RunBy:
        """What computes its default signature."""
        return self.inner.run_by

    def check_room(self, call: Call) -> None:
        """Make sure that a call would be taken now; see `Servable.check_room`."""
        self.inner.check_room(call)

    def predict(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a signature; see `Servable.predict`."""
        return self.inner.predict(inputs, call)

    def score_all(self, images: Sequence[Array], calls: Sequence[Call]) -> list[Answer | SignpostError]:
        """Score the images of several requests; see `Servable.score_all`."""
        return self.inner.score_all(images, calls)
