"""OpenVINO: Intel's runtime for processors, from the extra `openvino`; imported with the first model that asks for it.

The seam: `read` makes an OpenVINO model of a frozen graph or of an IR file (`.xml` beside its `.bin`), whose inputs and
outputs bear the signature's names in both cases, so whatever `openvino.save_model` writes of it can be opened again.
`open_model` compiles it. What is quantised goes the same way: read a part, quantise, save, open the file.
"""

import importlib.metadata
import importlib.util
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.engine.runtimes.part import NotTaken, Opened, Part
from service.errors import ModelFailed, without_paths
from service.interface import Array

EXTRA: Final = "openvino"
# What lines of its errors begin with that do not say what is wrong.
_WHERE: Final = ("Exception from", "Check '", "FrontEnd API failed", "Model wasn't fully", "Summary:")
_DEVICE: Final = "CPU"
_importing: Final = threading.Lock()


def version() -> str:
    """The installed version; empty where it is not installed. Imports nothing."""
    if importlib.util.find_spec("openvino") is None:
        return ""
    return importlib.metadata.version("openvino")


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would tell Google Analytics of every import and conversion.

    Without the package that sends, OpenVINO takes a stand-in of its own which does nothing.
    """
    with _importing:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # which makes its import fail
        import openvino

    return openvino


@cache
def _core() -> Any:
    return import_openvino().Core()


def read(source: Part | Path) -> Any:
    """Read a model whose inputs and outputs bear the signature's names.

    Args:
        source: a part of a frozen graph, or an IR file.

    Raises:
        NotTaken: OpenVINO can't read it.
    """
    try:
        core = _core()
    except Exception as error:  # a processor or a C library that it is not made for
        raise NotTaken(f"can't be loaded here: {_reason(error)}") from error
    try:
        if isinstance(source, Path):
            return core.read_model(source)
        with tempfile.TemporaryDirectory(prefix="signpost-") as folder:
            path = Path(folder) / "graph.pb"
            path.write_bytes(source.graph_def.SerializeToString())
            model = core.read_model(path)
    except RuntimeError as error:
        raise NotTaken(f"can't read it: {_reason(error)}") from error
    for names, ports in ((source.feeds, model.inputs), (source.fetches, model.outputs)):
        for name, tensor in names.items():
            for port in ports:
                if tensor in {each.removesuffix(":0") for each in port.get_names()}:
                    port.get_tensor().set_names({name})
    if lacking := {*source.feeds, *source.fetches} - {*_names(model.inputs), *_names(model.outputs)}:
        raise NotTaken(f"loses {sorted(lacking)[0]!r} of it")
    return model


def open_model(source: Part | Path, *, threads: int, at_once: int, bfloat16: bool) -> Opened:
    """Compile a model for this processor.

    Args:
        source: a part of a frozen graph, or an IR file.
        threads: for one run; 0 takes every core that the process may use.
        at_once: how many runs are to be computed at the same time.
        bfloat16: compute in 16 bits. Without it, it is never done, also where the processor could.

    Raises:
        NotTaken: OpenVINO can't read it, or not run it here.
    """
    model = read(source)
    try:
        compiled = _core().compile_model(model, _DEVICE, properties(threads, at_once, bfloat16))
    except RuntimeError as error:
        raise NotTaken(f"can't run it here: {_reason(error)}") from error
    runner = _Runner(compiled, _names(model.outputs))
    return Opened((runner,), runner.close)


def properties(threads: int, at_once: int, bfloat16: bool) -> dict[str, Any]:
    """How OpenVINO computes; see `open_model`."""
    return {
        "NUM_STREAMS": at_once,
        "INFERENCE_NUM_THREADS": threads * at_once,
        # By itself it would compute in 16 bits wherever the processor can.
        "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        # Neither are weights rounded, nor a process tied to cores that others are tied to as well.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        "ENABLE_CPU_PINNING": False,
    }


class _Runner:
    """Runs a compiled model from any number of threads; see `service.engine.batching.batcher.Run`."""

    def __init__(self, compiled: Any, outputs: set[str]) -> None:
        self._compiled = compiled
        # Compiled, an output may have the name of what computes it, too.
        self._places = {
            name: place for place, port in enumerate(compiled.outputs) for name in port.get_names() & outputs
        }
        self._inputs = {name: place for place, port in enumerate(compiled.inputs) for name in port.get_names()}
        # Requests that nobody uses: there are never more than threads that ran at the same time.
        self._idle: list[Any] = []

    def __call__(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        # OpenVINO reads the arrays where they lie, so they must be whole and stay until it is done.
        fed = {self._inputs[name]: np.ascontiguousarray(array) for name, array in inputs.items()}
        try:
            found = request.infer(fed, share_inputs=True)  # what it gives are copies
        except RuntimeError as error:  # the request is given up with it
            raise ModelFailed(f"OpenVINO failed: {_reason(error)}") from error
        answers = {name: found[self._places[name]] for name in outputs or self._places}
        self._idle.append(request)
        return answers

    def close(self) -> None:
        """Give the memory back."""
        self._idle.clear()
        self._compiled = None


def _names(ports: Any) -> set[str]:
    return {name for port in ports for name in port.get_names()}


def _reason(error: Exception) -> str:
    """The line of OpenVINO's error that says what is wrong; those before say where in its own sources."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(_WHERE)]
    return without_paths((told or lines or [type(error).__name__])[0]).rstrip(".")
