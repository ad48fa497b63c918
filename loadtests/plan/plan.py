"""What the generator is told: who asks what, when, and for how long. It travels as a file of JSON."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from loadtests.plan.shapes import Stage
from service.errors import SettingsError

# The ways in, and how many images a request holds unless it is said.
WAYS: Final = {"image": 1, "multipart": 8, "b64": 1, "arrays": 1, "grpc": 1}


@dataclass(frozen=True)
class Kind:
    """Requests of one kind.

    Attributes:
        way: one of `WAYS`.
        model: whom they ask.
        images: how many each holds.
        weight: how many there are of them, relative to other kinds.
    """

    way: str
    model: str
    images: int = 1
    weight: float = 1.0

    def __str__(self) -> str:
        """For tables."""
        return f"{self.model}, {self.way}" + (
            f" of {self.images}" if self.way == "multipart" or self.images > 1 else ""
        )


@dataclass(frozen=True)
class Plan:
    """All that a run's generator needs to know.

    Attributes:
        url: of the service.
        grpc_address: of the service.
        kinds: what is asked.
        stages: the load over time, warm-up and all; users of a closed loop, requests per second of open arrivals.
        arrivals: `closed` (each user asks again when answered), `constant` or `poisson` (open, at a rate).
        users: those of a closed loop at most, or the connections of open arrivals.
        processes: that generate load.
        images: folder of images to send; otherwise they are drawn.
        timeout_s: after which a request is given up.
        seed: of the order of requests and arrivals.
        folder: where the generator writes its records.
    """

    url: str
    grpc_address: str
    kinds: tuple[Kind, ...]
    stages: tuple[Stage, ...]
    arrivals: str = "closed"
    users: int = 32
    processes: int = 1
    images: str = ""
    timeout_s: float = 30.0
    seed: int = 0
    folder: str = ""

    @property
    def is_open(self) -> bool:
        """Whether requests come at a rate, whatever became of others."""
        return self.arrivals != "closed"

    @property
    def end_s(self) -> float:
        """When the last request may be due."""
        return self.stages[-1].end_s

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Read what `write` wrote."""
        values = json.loads(path.read_text("utf-8"))
        kinds = tuple(Kind(**each) for each in values.pop("kinds"))
        stages = tuple(Stage(**each) for each in values.pop("stages"))
        return cls(kinds=kinds, stages=stages, **values)


def kinds(ways: Iterable[str], models: Iterable[str]) -> tuple[Kind, ...]:
    """Every way with every model.

    Args:
        ways: `WAY`, `WAY:IMAGES`, each also with `=WEIGHT`: `multipart:8=2`.
        models: `MODEL` or `MODEL=WEIGHT`.

    Raises:
        SettingsError: there is no such way, or a number is none.
    """
    found = []
    for way_text in ways:
        way_and_images, way_weight = _weighted(way_text)
        way, _, images = way_and_images.partition(":")
        if way not in WAYS or (images and not (images.isdigit() and int(images))) or (way == "image" and images > "1"):
            raise SettingsError(
                f"--way takes {', '.join(WAYS)}, with a number of images (multipart:8) for all but image; "
                f"not {way_text!r}."
            )
        for model_text in models:
            model, weight = _weighted(model_text)
            found.append(Kind(way, model, int(images or WAYS[way]), weight * way_weight))
    return tuple(found)


def _weighted(text: str) -> tuple[str, float]:
    name, equals, weight = text.partition("=")
    try:
        number = float(weight) if equals else 1.0
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise SettingsError(f"A weight is a number above 0, as in {name}=2; not {text!r}.")
    return name, number
