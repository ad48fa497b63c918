"""SavedModels as TensorFlow runs them: each signature a function from arrays to arrays.

The signatures are frozen (their variables become constants, which they share) and run in a session: measured against
calling the function eagerly that takes 0.3 ms instead of 0.5 ms for one small image, is 1.3 times as fast in batches of
32, and gives its memory back when the session is closed (docs/decisions/0004). What can't be frozen runs as it was
loaded.

TensorFlow 1's loader comes first, as in TF Serving: it is the quicker one. Where it does not find what a signature
needs, as with Keras 3 models written by `tf.saved_model.save`, TensorFlow 2's does (docs/decisions/0084).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from service.engine.batching.batcher import Run
from service.engine.runtimes.replicas import Replicas
from service.engine.tf.definition import Definition
from service.engine.tf.device import DeviceSettings, import_tensorflow, placements
from service.engine.tf.errors import first_line
from service.engine.tf.function_loader import open_functions
from service.engine.tf.graph_loader import open_graph
from service.engine.tf.session import Ends, Frozen, Opened, open_session, run_of
from service.errors import UnfitSignature, without_paths
from service.interface import Array

log = logging.getLogger(__name__)

# Seconds for a run that only tries something; with inputs that are drawn a model may never end.
_TRIAL_S: Final = 10.0


@dataclass(frozen=True)
class Loaded:
    """A SavedModel in memory.

    Attributes:
        runs: a function for each signature; of one that can't be run it raises UnfitSignature, which says why.
        devices: of each that can be run, the function on each device.
        trials: the same as `drafts`, but a run is given up after some seconds, as far as TensorFlow can.
        drafts: the same functions on what was loaded, until `settle`. What runs in a session makes it keep another copy
            of the model for each set of outputs it was ever asked for, so whatever is only tried belongs there.
        in_float32: a signature on the first device without mixed precision, as long as the context lasts; None where
            it can't be frozen, which mixed precision does not change.
        refused: why signatures can't be run, by name.
        settle: gives back the memory of what nothing runs on.
        release: gives all memory back.
        copies: on how many devices they are.
        serve: puts other functions of a signature, one for each device, in place of TensorFlow's.
        frozen: the graph of each signature that could be frozen.
        open_session: makes a function of another graph on each device, by names of the tensors that are fed and
            fetched; and what ends it.
    """

    runs: Mapping[str, Run]
    devices: Mapping[str, Sequence[Run]]
    drafts: Mapping[str, Run]
    trials: Mapping[str, Run]
    in_float32: Callable[[str], AbstractContextManager[Run | None]]
    refused: Mapping[str, str]
    settle: Callable[[], None]
    release: Callable[[], None]
    copies: int
    serve: Callable[[str, Sequence[Run]], None]
    frozen: Mapping[str, Frozen]
    open_session: Callable[[Any, Mapping[str, str], Mapping[str, str]], tuple[list[Run], Callable[[], None]]]


def load(folder: Path, definition: Definition, device: DeviceSettings) -> Loaded:
    """Load a SavedModel.

    Args:
        folder: the SavedModel, of TensorFlow 2 or 1.
        definition: what its file says.
        device: how TensorFlow uses the device.

    Raises:
        UnfitSignature: no signature can be run.
        Exception: what TensorFlow raises of a SavedModel that it can't load.
    """
    tf = import_tensorflow(device)
    places = placements(tf, device)
    refused = {name: why for name in definition.signatures if (why := definition.why_not_run(name))}
    opened = _open(tf, folder, definition, [name for name in definition.signatures if name not in refused], device)
    runs: dict[str, Run] = {}
    devices: dict[str, Sequence[Run]] = {}
    drafts: dict[str, Run] = {}
    trials: dict[str, Run] = {}
    sessions: list[Any] = []

    @contextmanager
    def in_float32(name: str) -> Iterator[Run | None]:
        frozen = next((each for each in opened.frozen if name in each.ends), None)
        if frozen is None:
            yield None
            return
        session = open_session(tf, frozen.graph_def, replace(device, mixed_precision=False), places[0])
        try:
            yield run_of(tf, session, frozen.ends[name], device)
        finally:
            session.close()

    def open_other(
        graph_def: Any, feeds: Mapping[str, str], fetches: Mapping[str, str]
    ) -> tuple[list[Run], Callable[[], None]]:
        others = [open_session(tf, graph_def, device, place) for place in places]

        def close() -> None:
            for session in others:
                session.close()

        return [run_of(tf, session, Ends(feeds, fetches), device) for session in others], close

    def serve(name: str, functions: Sequence[Run]) -> None:
        devices[name], runs[name] = functions, Replicas(functions)

    def settle() -> None:
        drafts.clear()
        trials.clear()
        if all(any(name in frozen.ends for frozen in opened.frozen) for name in runs.keys() - refused.keys()):
            opened.close()

    def release() -> None:
        for functions in (runs, devices, drafts):
            functions.clear()
        for session in sessions:
            session.close()
        opened.close()

    try:
        for name in definition.signatures.keys() - refused.keys():
            try:
                drafts[name] = opened.as_it_is(name, 0.0)
                trials[name] = opened.as_it_is(name, _TRIAL_S)
            except (KeyError, ValueError) as error:
                refused[name] = f"its graph lacks what the signature names: {first_line(error)}"
        if not drafts:
            raise UnfitSignature(next(iter(refused.values())))
        for frozen in opened.frozen:
            own = [open_session(tf, frozen.graph_def, device, place) for place in places]
            sessions += own
            for name, ends in frozen.ends.items():
                devices[name] = [run_of(tf, session, ends, device) for session in own]
                runs[name] = Replicas(devices[name])
        for name in drafts.keys() - runs.keys():
            runs[name], devices[name] = drafts[name], [drafts[name]]
    except BaseException:
        release()
        raise
    for name, why in refused.items():
        runs[name] = _refusing(name, without_paths(why))
    graphs = {name: frozen for frozen in opened.frozen for name in frozen.ends}
    return Loaded(
        runs, devices, drafts, trials, in_float32, refused, settle, release, len(places), serve, graphs, open_other
    )


def _open(tf: Any, folder: Path, definition: Definition, names: list[str], device: DeviceSettings) -> Opened:
    try:
        return open_graph(tf, folder, definition, names, device)
    except Exception as error:
        if not definition.has_objects:
            raise
        log.info(
            "TensorFlow 1's loader can't run %s, so TensorFlow 2's does: %s",
            folder,
            first_line(error),
            extra={"once": True},
        )
        try:
            return open_functions(tf, folder, definition, names)
        except Exception as second:
            raise second from error


def _refusing(name: str, why: str) -> Run:
    def refuse(_inputs: Mapping[str, Array], _outputs: tuple[str, ...]) -> Mapping[str, Array]:
        raise UnfitSignature(f"The signature {name!r} can't be run: {why}.")

    return refuse
