"""A service whose models are run by OpenVINO, as those who operate it see it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e import processes
from tests.e2e.processes import PATIENCE_S, Server

SAVE = """
import sys, tensorflow as tf
class Either(tf.Module):
    def __init__(self):
        self.factor = tf.Variable(2.0)
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def double(self, x):
        return {"y": self.factor * x}
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    def words(self, x):
        return {"y": self.factor * tf.cast(tf.strings.length(x), tf.float32)}
either = Either()
tf.saved_model.save(either, sys.argv[1], {"serving_default": either.double})
tf.saved_model.save(either, sys.argv[2], {"serving_default": either.words})
"""
ROWS = [[1.0, 2.0, 3.0, 4.0], [0.0, 0.5, -1.0, 8.0]]


@dataclass
class Made:
    """A store with `double` 1, which OpenVINO takes; and a version that it does not take, beside it."""

    store: Path
    words: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("runtimes")
    found = Made(folder / "store", folder / "words")
    command = [sys.executable, "-c", SAVE, found.store / "double" / "1", found.words]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module")
def server(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serving")
    flags = ("--runtime=double=openvino,auto", "--engine=shared", "--workers=1", f"--store-cache={folder / 'cache'}")
    with processes.serving(made.store, folder, *flags) as running:
        yield running


def runtime(server: Server) -> Any:
    answer = requests.get(f"{server.url}/v1/models/double/metadata?runtime=true", timeout=PATIENCE_S)
    return answer.json()["metadata"]["runtime"]


def doubled(server: Server) -> Any:
    url = f"{server.url}/v1/models/double:predict"
    return requests.post(url, json={"instances": ROWS}, timeout=PATIENCE_S).json()


def test_it_answers_and_everything_tells_who_does(server: Server, made: Made) -> None:
    """Behind a gateway, too."""
    assert doubled(server) == {"predictions": [[2 * x for x in row] for row in ROWS]}
    told = runtime(server)
    assert told["name"] == "openvino"
    assert told["times_as_fast"] > 0
    (version,) = requests.get(f"{server.url}/v1/models", timeout=PATIENCE_S).json()["models"][0]["model_version_status"]
    assert version["runtime"] == told
    text = requests.get(f"{server.url}/metrics", timeout=PATIENCE_S).text
    assert 'signpost_runtime_info{model="double",runtime="openvino",version="1"} 1.0' in text
    assert "double version 1 is run by openvino" in server.log.read_text()
    listed = processes.run("models", "list", "--store", made.store, "--url", server.url)
    assert "by default (openvino)" in listed.stdout


def test_a_later_version_that_it_does_not_take_ends_with_the_reason_and_the_old_one_serves(
    server: Server, made: Made
) -> None:
    shutil.copytree(made.words, made.store / "double" / "2")

    def status() -> dict[str, Any]:
        found = requests.get(f"{server.url}/v1/models/double", timeout=PATIENCE_S).json()["model_version_status"]
        return {each["version"]: each for each in found}

    processes.wait_until(lambda: status().get("2", {}).get("state") == "END", server.log.read_text)
    error = status()["2"]["status"]["error_message"]
    assert error == "double version 2 can't be run by --runtime=openvino: its input 'x' is DT_STRING."
    assert doubled(server)["predictions"][0][0] == 2
    shutil.rmtree(made.store / "double" / "2")


def test_at_the_start_it_is_one_sentence_and_the_exit_code_2(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.words, tmp_path / "store" / "words" / "1")
    flags = (
        "--runtime=openvino",
        "--port=0",
        "--rest_api_port=0",
        "--workers=1",
        f"--store-cache={tmp_path / 'cache'}",
    )
    done = processes.run("serve", "--store", tmp_path / "store", *flags)
    assert done.returncode == 2
    assert "Error: words version 1 can't be run by --runtime=openvino: its input 'x' is DT_STRING.\n" in done.stderr
    assert "Traceback" not in done.stderr
