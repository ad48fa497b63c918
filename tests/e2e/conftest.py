"""A model trained by the real command, and a server of it, shared by the tests that change neither."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.e2e import processes
from tests.e2e.browser import Page, browsing
from training.data.circles import draw


@pytest.fixture(scope="session")
def circles_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `circles` version 1, trained by `signpost train`."""
    store = tmp_path_factory.mktemp("trained") / "store"
    cache = store.with_name("cache")
    done = processes.run("train", "circles", "--store", store, "--cache", cache, "--samples=5000", "--epochs=8")
    assert done.returncode == 0, done.stderr
    return store


@pytest.fixture(scope="session")
def server(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Server]:
    """A server of `circles`; not to be stopped or changed by a test."""
    with processes.serving(circles_store, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def pictures() -> dict[int, bytes]:
    """A PNG of each number of circles, 1 to 5, that no training has seen."""
    rng = np.random.default_rng(20_26)
    pictures = {}
    for count in range(1, 6):
        file = io.BytesIO()
        draw(count, side=32, radii=(2, 6), rng=rng).save(file, "PNG")
        pictures[count] = file.getvalue()
    return pictures


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser; for tests that are skipped where there is none."""
    with browsing(tmp_path_factory.mktemp("browser") / "profile") as page:
        yield page


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, pictures: dict[int, bytes]) -> dict[int, Path]:
    """Files with one to five circles, one of them with a name that needs quotes."""
    folder = tmp_path_factory.mktemp("files")
    names = {count: folder / f"circles_{count}.png" for count in pictures}
    names[5] = folder / "it's, five.png"
    for count, path in names.items():
        path.write_bytes(pictures[count])
    return names
