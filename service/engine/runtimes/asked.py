"""What `--runtime` asks for, by model, and whether it is installed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.engine.runtimes import openvino
from service.errors import SettingsError
from service.interface import REFERENCE

AUTO: Final = "auto"
OPENVINO: Final = "openvino"
XLA: Final = "xla"
# OpenVINO with the int8 form of a version, where it is published with one; nobody asks for it by name.
OPENVINO_INT8: Final = "openvino_int8"
CHOICES: Final = (AUTO, REFERENCE, XLA, OPENVINO)

# Told of each version whose runtime is given up while it serves: model, version, runtime.
GivenUp = Callable[[str, int, str], None]


@dataclass(frozen=True)
class Wish:
    """How a version's runtime is to be found.

    Attributes:
        runtime: `auto`, or the runtime that has to serve.
        folder: where choices are remembered; None remembers nothing.
        given_up: told of a runtime that is given up while it serves.
        int8: whether a version that is published in int8 too is run so, where OpenVINO may run it.
    """

    runtime: str = REFERENCE
    folder: Path | None = None
    given_up: GivenUp = lambda *_: None
    int8: bool = True


def parse(text: str) -> dict[str, str]:
    """Read `--runtime`: `auto` for every model, or `cats_vs_dogs=openvino,auto`.

    Returns:
        Runtimes by model's name; the name "" stands for every other model.

    Raises:
        SettingsError: there is no such runtime, or it is not installed.
    """
    asked: dict[str, str] = {"": AUTO}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, runtime = (each.strip() for each in (part.partition("=") if "=" in part else ("", "", part)))
        if runtime not in CHOICES or (equals and not name):
            raise SettingsError(
                f"--runtime takes {', '.join(CHOICES[:-1])} or {CHOICES[-1]}, or MODEL=RUNTIME,…; {part!r} is neither."
            )
        if runtime == OPENVINO and not openvino.version():
            raise SettingsError(
                f"--runtime={part}: OpenVINO is not installed; install it with `pip install "
                f"'signpost-serving[{openvino.EXTRA}]'`."
            )
        asked[name] = runtime
    return asked


def installed() -> Mapping[str, str]:
    """The versions of the runtimes that are there besides TensorFlow, by name. Imports none of them."""
    found = {OPENVINO: openvino.version()}
    return {name: version for name, version in found.items() if version}
