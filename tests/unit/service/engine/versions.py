"""What the tests of the local engine share: a loader without TensorFlow, and a store that changes."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from service import store
from service.engine.local.engine import LocalEngine
from service.errors import LoadFailed
from service.interface import Call, ModelSpec, State
from tests.fakes import FakeServable

LONG_S = 20.0  # nothing here takes this long; what waits for it has failed
POLL_S = 0.01


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.002)


class Loader:
    """Makes servables that answer their version; a folder whose file says "broken" or "odd" fails to load."""

    def __init__(self) -> None:
        self.loaded: dict[tuple[str, int], FakeServable] = {}
        self.tried: list[tuple[str, int]] = []
        self.may_load = threading.Event()
        self.may_load.set()
        self.slow: dict[tuple[str, int], threading.Event] = {}  # versions that wait for an event of their own
        self.broken: set[tuple[str, int]] = set()  # versions that fail here, whatever their file says

    def __call__(self, folder: Path, name: str, version: int) -> FakeServable:
        self.tried.append((name, version))
        assert self.slow.get((name, version), self.may_load).wait(LONG_S)
        content = (folder / store.SAVED_MODEL).read_bytes()
        if content == b"broken" or (name, version) in self.broken:
            raise LoadFailed(f"{folder} is broken.")
        if content == b"odd":
            raise RuntimeError("something odd")

        def run(*_: object) -> dict[str, np.ndarray]:
            assert not servable.closed, "asked after it was closed"
            return {"version": np.array([version])}

        servable = FakeServable(run, {}, name, version)
        self.loaded[name, version] = servable
        return servable


def publish(folder: Path, model: str = "m", content: bytes = b"fine") -> int:
    return store.publish(folder, model, lambda path: (path / store.SAVED_MODEL).write_bytes(content) and None)


def states(engine: LocalEngine, model: str = "m") -> dict[int, State]:
    return {each.version: each.state for each in engine.status().models.get(model, ())}


def serving(engine: LocalEngine, spec: ModelSpec = ModelSpec("m")) -> int:  # noqa: B008 - it is frozen
    """The version that answers."""
    with engine.lease(spec) as servable:
        answer = servable.predict({}, Call(time.monotonic() + LONG_S))
        assert answer.outputs["version"].tolist() == [servable.version]
        return servable.version


def settle(engine: LocalEngine) -> None:
    """Wait until the engine has looked at the store once more, from the beginning to the end of a look."""
    steps = []
    step = engine._step

    def noting() -> bool:
        steps.append(1)
        return step()

    engine._step = noting  # type: ignore[method-assign]
    until(lambda: len(steps) >= 3)
    engine._step = step  # type: ignore[method-assign]
