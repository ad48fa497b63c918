"""SavedModels as TensorFlow runs them: each signature a function from arrays to arrays.

The signatures are frozen (their variables become constants, which they share) and run in a session: measured against
calling the function eagerly that takes 0.3 ms instead of 0.5 ms for one small image, is 1.3 times as fast in batches of
32, and gives its memory back when the session is closed (docs/decisions/0004). What can't be frozen runs as it was
loaded.

TensorFlow 1's loader comes first, as in TF Serving: it is the quicker one. Where it does not find what a signature
needs, as with Keras 3 models written by `tf.saved_model.save`, TensorFlow 2's does (docs/decisions/0083).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.engine.batching import Run
from service.engine.definition import Definition
from service.engine.device import DeviceSettings, import_tensorflow, placements
from service.engine.function_loader import open_functions
from service.engine.graph_loader import open_graph
from service.engine.interface import DEFAULT_SIGNATURE, Array
from service.engine.replicas import Replicas
from service.engine.tf_errors import first_line
from service.engine.tf_session import Opened, open_session, run_of
from service.errors import UnfitSignature, without_paths

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A SavedModel in memory.

    Attributes:
        runs: a function for each signature; of one that can't be run it raises UnfitSignature, which says why.
        refused: why signatures can't be run, by name.
        release: gives their memory back.
        copies: on how many devices they are.
        first: what the default signature answered to the sample.
    """

    runs: Mapping[str, Run]
    refused: Mapping[str, str]
    release: Callable[[], None]
    copies: int
    first: Mapping[str, Array]


def load(
    folder: Path, definition: Definition, device: DeviceSettings, sample: Mapping[str, Array] | None = None
) -> Loaded:
    """Load a SavedModel.

    Args:
        folder: the SavedModel, of TensorFlow 2 or 1.
        definition: what its file says.
        device: how TensorFlow uses the device.
        sample: inputs for the default signature. It is run once on them for all its outputs, in a session that is then
            closed: one that stays keeps another copy of the model for each set of outputs it was ever asked for.
    """
    tf = import_tensorflow(device)
    places = placements(tf, device)
    refused = {name: why for name in definition.signatures if (why := definition.why_not_run(name))}
    opened = _open(tf, folder, definition, [name for name in definition.signatures if name not in refused], device)
    runs: dict[str, Run] = {}
    sessions: list[Any] = []

    def release() -> None:
        runs.clear()
        for session in sessions:
            session.close()
        opened.close()

    try:
        first = {} if sample is None else opened.as_it_is(DEFAULT_SIGNATURE)(sample, ())
        for frozen in opened.frozen:
            own = [open_session(tf, frozen.graph_def, device, place) for place in places]
            sessions += own
            for name, ends in frozen.ends.items():
                runs[name] = Replicas([run_of(tf, session, ends, device) for session in own])
        for name in definition.signatures.keys() - runs.keys() - refused.keys():
            try:
                runs[name] = opened.as_it_is(name)
            except (KeyError, ValueError) as error:
                refused[name] = f"its graph does not hold what the signature {name!r} names: {first_line(error)}"
        if not runs:
            raise UnfitSignature(next(iter(refused.values())))
    except BaseException:
        release()
        raise
    if all(any(name in frozen.ends for frozen in opened.frozen) for name in runs):
        opened.close()
    for name, why in refused.items():
        runs[name] = _refusing(name, without_paths(why))
    return Loaded(runs, refused, release, len(places), first)


def _open(tf: Any, folder: Path, definition: Definition, names: list[str], device: DeviceSettings) -> Opened:
    try:
        return open_graph(tf, folder, definition, names, device)
    except Exception as error:
        if not definition.has_objects:
            raise
        log.info("TensorFlow 1's loader can't run %s, so TensorFlow 2's does: %s", folder, first_line(error))
        try:
            return open_functions(tf, folder, definition, names)
        except Exception as second:
            raise second from error


def _refusing(name: str, why: str) -> Run:
    def refuse(_inputs: Mapping[str, Array], _outputs: tuple[str, ...]) -> Mapping[str, Array]:
        raise UnfitSignature(f"The signature {name!r} can't be run: {why}.")

    return refuse
