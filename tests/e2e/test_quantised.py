"""A model that is published once more in int8, and the service that runs it so."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from service import store as stores
from tests.e2e import processes
from tests.e2e.processes import PATIENCE_S, Server


@pytest.fixture(scope="module")
def published(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `circles` version 1, the one trained by `signpost train`, in int8 too."""
    folder = tmp_path_factory.mktemp("int8")
    # Circles are small and many; that is hard in 8 bits.
    done = processes.run(
        "train", "circles", "--weights", circles_store / "circles", "--epochs=0", "--samples=600", "--quantize=int8",
        "--quantize-loss=0.2", "--store", folder / "store", "--cache", folder / "cache", "--report", folder / "report",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "In int8: " in done.stdout
    return folder / "store"


@pytest.fixture(scope="module")
def server(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with processes.serving(
        published, tmp_path_factory.mktemp("serving"), "--runtime=openvino", "--workers=1"
    ) as server:
        yield server


def version(store: Path) -> Path:
    return store / "circles" / "1"


def test_the_float_graph_is_the_version_and_the_int8_form_beside_it(published: Path) -> None:
    folder = version(published)
    assert (folder / stores.SAVED_MODEL).is_file()
    form = folder / stores.INT8
    assert (
        form.with_suffix(".bin").stat().st_size
        < (folder / "variables" / "variables.data-00000-of-00001").stat().st_size
    )
    golden = np.load(folder / stores.GOLDEN)
    assert golden["int8_scores"].shape == golden["scores"].shape
    assert not np.array_equal(golden["int8_scores"], golden["scores"])


def test_the_card_has_both_accuracies(published: Path) -> None:
    card = json.loads((version(published) / stores.MODEL_CARD).read_text())
    whole, form = (each["metrics"]["test"] for each in (card, card["int8"]))
    assert whole["images"] == form["images"] == 100
    assert whole["correct"] - form["correct"] <= 20
    assert card["int8"]["calibration_images"] == 300
    assert {"nncf", "openvino"} == card["int8"]["libraries"].keys()
    assert card["int8"]["test_passing"] == pytest.approx(card["in_domain"]["test_passing"], abs=0.1)


def test_it_answers_in_int8_and_says_so(server: Server, pictures: dict[int, bytes]) -> None:
    metadata = requests.get(f"{server.url}/v1/models/circles/metadata?runtime=true", timeout=PATIENCE_S).json()
    assert "openvino_int8" in json.dumps(metadata)
    assert 'signpost_runtime_info{model="circles",runtime="openvino_int8",version="1"} 1.0' in (
        requests.get(f"{server.url}/metrics", timeout=PATIENCE_S).text
    )
    assert "circles version 1 is run by openvino_int8" in server.log.read_text()
    answers = [
        requests.post(server.predict_url(), picture, headers={"Content-Type": "image/png"}, timeout=PATIENCE_S).json()
        for picture in pictures.values()
    ]
    right = [answer["predictions"][0]["class"] == str(count) for count, answer in zip(pictures, answers, strict=True)]
    assert sum(right) >= 3
    assert all(0 <= answer["predictions"][0]["score"] <= 1 for answer in answers)


def test_a_damaged_form_leaves_it_to_the_float_graph(published: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(published, store)
    weights = (version(store) / stores.INT8).with_suffix(".bin")
    weights.write_bytes(bytes(weights.stat().st_size))
    with processes.serving(store, tmp_path, "--runtime=openvino", "--workers=1") as server:
        told = server.log.read_text()
    assert "circles version 1 does not serve in int8, in which it is published too" in told
    assert "circles version 1 is run by openvino, " in told
