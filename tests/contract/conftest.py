"""The services over which the suite runs, each started once: the real command, in each of its shapes."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.processes import PATIENCE_S, Server, serving, wait_until

# Small queues and short deadlines, so that both can be met in a test.
LIMITS = (
    "--max_batch_size=8",
    "--max_enqueued_batches=2",
    "--max-instances=32",
    "--rest_api_timeout_in_ms=5000",
)
# Each has its models run in another way, too: by TensorFlow, by OpenVINO, and by what is found to be the fastest.
SHAPES = {
    "local": (),
    "workers": ("--workers=2", "--runtime=shade=openvino,telling=openvino,times=openvino,tensorflow"),
    "shared": ("--engine=shared", "--workers=2", "--runtime=auto"),
}
REMOTE = ("remote", "tensorflow_model_server")


@pytest.fixture(scope="session")
def contract_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with `shade`, `maths` and `times`; further versions of `times` lie in `spare` beside it."""
    store = tmp_path_factory.mktemp("contract") / "store"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.contract.models", store]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return store


@pytest.fixture(scope="session")
def start(contract_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Starts the service of a shape, the first time that it is asked for."""
    running: dict[str, Server] = {}
    with ExitStack() as stack:

        def started(shape: str) -> Server:
            if shape not in running:
                if shape == "tensorflow_model_server":
                    arguments = (f"--engine={stack.enter_context(_tf_serving(contract_store))}", *_TOLD)
                elif shape == "remote":
                    arguments = (f"--engine=127.0.0.1:{started('local').port}",)
                else:
                    arguments = SHAPES[shape]
                folder = tmp_path_factory.mktemp(shape)
                arguments = (*arguments, f"--store-cache={folder / 'cache'}")
                running[shape] = stack.enter_context(serving(contract_store, folder, *LIMITS, *arguments))
            return running[shape]

        yield started


@pytest.fixture(params=[*SHAPES, *REMOTE])
def service(request: pytest.FixtureRequest, start: Callable[[str], Server]) -> Server:
    """A running service; the suite runs over each."""
    if request.param == "tensorflow_model_server" and shutil.which("tensorflow_model_server") is None:
        pytest.skip("tensorflow_model_server is not on PATH; install it to hold the suite against the original")
    return start(request.param)


_TOLD = ("--engine-models=shade,telling,maths,times,dbl,every",)


@contextmanager
def _tf_serving(store: Path) -> Iterator[str]:
    """The original, on a free port; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = store.with_name("tensorflow_model_server.log")
    with log.open("w") as sink:
        process = subprocess.Popen(
            [
                "tensorflow_model_server",
                f"--port={port}",
                "--rest_api_port=0",
                f"--model_config_file={store / 'models.config'}",
                "--allow_version_labels_for_unavailable_models=true",
                "--file_system_poll_wait_seconds=1",
            ],
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
