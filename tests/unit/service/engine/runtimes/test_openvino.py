"""OpenVINO itself, on graphs that are written by hand: no TensorFlow is loaded."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import protocol
from service.engine.runtimes import openvino
from service.engine.runtimes.part import NotTaken, Opened, Part
from service.errors import ModelFailed
from service.interface import Array

pytestmark = pytest.mark.slow  # OpenVINO

FLOAT = 1
X = np.array([[1, 2], [3, 4]], np.float32)


def graph(operation: str = "Mul") -> Part:
    """`y` is x + 1, and then `z` is y by 3 (or what another operation makes of them)."""
    graph_def = protocol.meta_graph_pb2.MetaGraphDef().graph_def
    placeholder = graph_def.node.add(name="x_in", op="Placeholder")
    placeholder.attr["dtype"].type = FLOAT
    for size in (-1, 2):
        placeholder.attr["shape"].shape.dim.add(size=size)
    for name, value in (("one", 1.0), ("three", 3.0)):
        constant = graph_def.node.add(name=name, op="Const")
        constant.attr["dtype"].type = FLOAT
        constant.attr["value"].tensor.CopyFrom(protocol.to_tensor_proto(np.float32(value), as_content=False))
    for name, op, inputs in (
        ("add", "AddV2", ["x_in", "one"]),
        ("last", operation, ["add", "three"]),
        ("out_0", "Identity", ["add"]),
        ("out_1", "Identity", ["last"]),
    ):
        graph_def.node.add(name=name, op=op, input=inputs).attr["T"].type = FLOAT
    return Part(graph_def, {"x": "x_in"}, {"y": "out_0", "z": "out_1"})


def opened(source: Part | Path | None = None, at_once: int = 1) -> Opened:
    return openvino.open_model(source or graph(), threads=1, at_once=at_once, bfloat16=False)


def ask(run: Any, x: Array = X, *outputs: str) -> dict[str, list[Any]]:
    return {name: array.tolist() for name, array in run({"x": x}, outputs).items()}


def test_outputs_bear_the_signatures_names_also_one_that_another_is_made_of() -> None:
    model = opened()
    (run,) = model.devices
    assert ask(run) == {"y": [[2, 3], [4, 5]], "z": [[6, 9], [12, 15]]}
    assert ask(run, X, "z") == {"z": [[6, 9], [12, 15]]}
    assert list(ask(run, X, "z", "y")) == ["z", "y"]
    model.close()


def test_any_number_of_rows_runs_and_an_answer_stays_when_the_next_is_computed() -> None:
    (run,) = opened().devices
    first = run({"x": X}, ("y",))["y"]
    for rows in (1, 32, 3, 7):
        x = np.full((rows, 2), rows, np.float32)
        np.testing.assert_array_equal(run({"x": x}, ("y",))["y"], x + 1)
    np.testing.assert_array_equal(first, X + 1)


def test_arrays_that_lie_apart_in_memory_are_read_as_they_are() -> None:
    (run,) = opened().devices
    np.testing.assert_array_equal(run({"x": X.T}, ("y",))["y"], X.T + 1)
    np.testing.assert_array_equal(run({"x": X[::-1]}, ("y",))["y"], X[::-1] + 1)


def test_several_threads_get_their_own_answers() -> None:
    (run,) = opened(at_once=2).devices
    wrong: list[Array] = []

    def several(number: int) -> None:
        x = np.full((number + 1, 2), number, np.float32)
        for _ in range(200):
            found = run({"x": x}, ("z",))["z"]
            if not np.array_equal(found, (x + 1) * 3):
                wrong.append(found)

    threads = [threading.Thread(target=several, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_an_ir_file_is_opened_by_the_same_names(tmp_path: Path) -> None:
    model = openvino.read(graph())
    openvino.import_openvino().save_model(model, tmp_path / "openvino.xml", compress_to_fp16=False)
    (run,) = opened(tmp_path / "openvino.xml").devices
    assert ask(run) == {"y": [[2, 3], [4, 5]], "z": [[6, 9], [12, 15]]}


def test_what_it_can_not_read_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(
        NotTaken, match=r"can't read it: No conversion rule found for operations: OddOperation$"
    ) as caught:
        opened(graph("OddOperation"))
    assert "\n" not in str(caught.value)
    (tmp_path / "broken.xml").write_text("<net")
    with pytest.raises(NotTaken, match="can't read it"):
        opened(tmp_path / "broken.xml")


def test_a_run_that_fails_is_one_of_our_errors() -> None:
    (run,) = opened().devices
    with pytest.raises(ModelFailed, match="OpenVINO failed"):
        run({"x": np.ones((2, 3), np.float32)}, ())
    assert ask(run, X, "y") == {"y": [[2, 3], [4, 5]]}


def test_sixteen_bits_are_computed_only_where_they_are_asked_for() -> None:
    """A processor with AMX has them by default."""
    core = openvino._core()
    chosen: list[str] = []
    for bfloat16 in (False, True):
        compiled = core.compile_model(openvino.read(graph()), "CPU", openvino.properties(1, 1, bfloat16))
        chosen.append(str(compiled.get_property("INFERENCE_PRECISION_HINT")))
    has = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert [("bfloat16" in each) for each in chosen] == [False, has]


def test_nothing_of_it_phones_home() -> None:
    """Its telemetry is never imported, and no address of the network is looked up or called."""
    program = """
import socket, sys
def caught(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print("network:", event, arguments)
sys.addaudithook(caught)
from tests.unit.service.engine.runtimes.test_openvino import ask, opened
print(ask(opened().devices[0]))
sent = [name for name in sys.modules if name.startswith("openvino_telemetry") and sys.modules[name] is not None]
print("telemetry:", sent)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "telemetry: []" in done.stdout
    assert "network" not in done.stdout


def test_asking_whether_it_is_installed_does_not_import_it() -> None:
    program = (
        "import sys; from service.engine.runtimes import asked, openvino; from service.engine.runtimes import fitting\n"
        "assert asked.parse('openvino'); assert openvino.version(); assert 'openvino' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
