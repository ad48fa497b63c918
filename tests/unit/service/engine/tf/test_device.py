"""Whether there is a GPU, and what is said when there is none although one was asked for."""

import gc
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from service.engine.tf import device
from service.engine.tf.device import DeviceSettings, count_gpus, placements
from service.errors import SettingsError

pytestmark = pytest.mark.slow  # TensorFlow


def tensorflow(gpus: int) -> Any:
    """As much of TensorFlow as tells which GPUs there are."""
    return SimpleNamespace(config=SimpleNamespace(list_physical_devices=lambda _kind: ["gpu"] * gpus))


def test_every_gpu_gets_a_copy_and_without_one_the_cpu() -> None:
    assert placements(tensorflow(2), DeviceSettings()) == ["/GPU:0", "/GPU:1"]
    assert placements(tensorflow(0), DeviceSettings()) == ["/CPU:0"]
    assert placements(tensorflow(0), DeviceSettings(cpu_devices=2)) == ["/CPU:0", "/CPU:1"]


def answer(text: str) -> Any:
    return lambda *_args, **_options: SimpleNamespace(stdout=text)


def test_gpus_are_counted_in_a_process_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", answer("noise\nGPUs: 3\n"))
    assert count_gpus() == 3
    monkeypatch.setattr(subprocess, "run", answer("nothing"))
    with pytest.raises(SettingsError, match="--require-gpu"):
        count_gpus()


@pytest.mark.parametrize(
    ("settings", "variables", "expected"),
    [
        (DeviceSettings(), {}, ""),
        (DeviceSettings(), {"CUDA_VISIBLE_DEVICES": "-1"}, ""),
        (DeviceSettings(), {"NVIDIA_VISIBLE_DEVICES": "void"}, ""),
        (DeviceSettings(), {"CUDA_VISIBLE_DEVICES": "0,1"}, "CUDA_VISIBLE_DEVICES"),
        (DeviceSettings(), {"NVIDIA_VISIBLE_DEVICES": "all"}, "NVIDIA_VISIBLE_DEVICES"),
        (DeviceSettings(memory_fraction=0.5), {}, "--per_process_gpu_memory_fraction"),
    ],
)
def test_what_asks_for_a_gpu_is_named(
    monkeypatch: pytest.MonkeyPatch, settings: DeviceSettings, variables: dict[str, str], expected: str
) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(device, "_NVIDIA_DRIVER", SimpleNamespace(exists=lambda: False))
    assert device._why_a_gpu_is_expected(settings) == expected


def test_a_missing_gpu_is_told_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", tensorflow(0))
    monkeypatch.setattr(device, "_set_up", threading.Event())
    monkeypatch.setattr(gc, "freeze", lambda: None)
    device.import_tensorflow(DeviceSettings())
    assert "sees no GPU although one was requested (CUDA_VISIBLE_DEVICES)" in caplog.text
    caplog.clear()
    device.import_tensorflow(DeviceSettings())
    assert caplog.text == ""


def test_the_memory_of_each_gpu_is_told_once_tensorflow_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tensorflow(2)
    fake.config.experimental = SimpleNamespace(get_memory_info=lambda name: {"current": len(name), "peak": 9})
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", fake)
    monkeypatch.setattr(device, "_set_up", set_up := threading.Event())
    assert device.gpu_memory() == {}
    set_up.set()
    assert device.gpu_memory() == {"GPU:0": {"current": 5, "peak": 9}, "GPU:1": {"current": 5, "peak": 9}}
    fake.config.list_physical_devices = lambda _kind: []
    assert device.gpu_memory() == {}


def test_the_threads_are_those_of_the_first_device() -> None:
    """TensorFlow makes them with a process's first device; a session's own settings come too late."""
    code = (
        "from service.engine.tf.device import DeviceSettings, import_tensorflow as load\n"
        "print('threads:', load(DeviceSettings(threads=1)).config.threading.get_intra_op_parallelism_threads())\n"
        "load(DeviceSettings(threads=2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split("threads:")[1].strip() == "1"


def test_keras_is_left_out_of_a_service_and_is_there_for_whoever_wants_it() -> None:
    code = (
        "import sys\n"
        "from service.engine.tf.device import DeviceSettings, import_tensorflow\n"
        "tf = import_tensorflow(DeviceSettings())\n"
        "print('loaded:', 'keras' in sys.modules)\n"
        "from tensorflow.keras import layers\n"
        "import keras\n"
        "print('same:', tf.keras.layers.Dense is layers.Dense is keras.layers.Dense)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["loaded: False", "same: True"]
