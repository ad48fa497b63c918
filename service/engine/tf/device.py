"""How TensorFlow is imported and uses the device."""

import contextlib
import ctypes
import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from service.errors import SettingsError
from service.telemetry.tensorflow_noise import held_back

log = logging.getLogger(__name__)

# Values of the variables that choose GPUs which choose none.
_NO_GPU: Final = ("", "-1", "none", "void")
_NVIDIA_DRIVER: Final = Path("/dev/nvidiactl")
_COUNT_S: Final = 120.0
# Set once TensorFlow is imported and set up in this process.
_set_up: Final = threading.Event()
# Versions may be loaded side by side.
_setting_up: Final = threading.Lock()
# One after another: each begins the allocator's statistics anew.
_measuring: Final = threading.Lock()
_MEASURED: Final = 3


@dataclass(frozen=True)
class DeviceSettings:
    """How TensorFlow loads and runs models.

    Attributes:
        threads: threads of TensorFlow for one servable; 0 lets TensorFlow choose.
        intra_op_threads: threads for one operation; 0 means `threads`.
        inter_op_threads: operations that run at the same time; 0 means `threads`.
        memory_fraction: share of each GPU's memory, taken at once; 0 lets it grow.
        mixed_precision: compute in 16 bits where that is safe: bfloat16 on a CPU, float16 on a GPU.
        stderr_folder: where to keep what TensorFlow's libraries write while they are imported; see
            `service.telemetry.tensorflow_noise`.
        pad_batches: run only sizes of batches that ran before a version served; None does so on a GPU, where a first
            run takes up to a second.
        cpu_devices: on a host without a GPU, how many devices to make of its CPU, each with a copy of every model;
            the tests show on them what several GPUs do.
    """

    threads: int = 0
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    memory_fraction: float = 0.0
    mixed_precision: bool = False
    stderr_folder: Path | None = None
    pad_batches: bool | None = None
    cpu_devices: int = 1


def import_tensorflow(device: DeviceSettings) -> Any:
    """Import TensorFlow without taking all of a GPU's memory; costs seconds the first time.

    Args:
        device: tells how much memory to take; what the first call in a process says counts.
    """
    with _setting_up:
        if not _set_up.is_set():
            _set_tensorflow_up(device)
            _set_up.set()
    return sys.modules["tensorflow"]


def _set_tensorflow_up(device: DeviceSettings) -> None:
    # TensorFlow's half a million objects live as long as the process. To look for garbage among them would take a fifth
    # of the import's time again, and afterwards stop every thread for a tenth of a second each time.
    gc.disable()
    try:
        with held_back(device.stderr_folder), _without_keras():
            import tensorflow as tf
    finally:
        gc.freeze()
        gc.enable()
    # What loads and freezes models is of TensorFlow 1's interface, as in TF Serving. It tells each step, and its age.
    logging.getLogger("tensorflow").addFilter(
        lambda record: record.levelno > logging.INFO and "is deprecated" not in record.getMessage()
    )
    if threads := device.intra_op_threads or device.threads:
        # All sessions of a process compute on the threads that its first device was made with, whatever they are told.
        with contextlib.suppress(RuntimeError):  # it is made already, in which case this was done before
            tf.config.threading.set_intra_op_parallelism_threads(threads)
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and (reason := _why_a_gpu_is_expected(device)):
        log.warning(
            "TensorFlow sees no GPU although one was requested (%s); models run on the CPU. `nvidia-smi` shows "
            "whether the driver is installed; --require-gpu makes this an error.",
            reason,
            extra={"once": True},
        )
    for number, gpu in enumerate(gpus):
        try:
            memory_mb = _memory_mb(number) if device.memory_fraction else 0
            if memory_mb:
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=int(memory_mb * device.memory_fraction))
                tf.config.set_logical_device_configuration(gpu, [limit])
            else:
                tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the device is in use already, in which case this was done before
            break


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """Keep Keras from being imported meanwhile.

    TensorFlow imports it, and Keras all that it could ever need, for programs that make models. To serve them it is of
    no use: without it the import takes a third less time, and each process 80 MB less (docs/decisions/0150). Whoever
    imports it later, by `tensorflow.keras` too, gets it.
    """
    finder = _KerasFinder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _KerasFinder(MetaPathFinder):
    """Finds Keras, as TensorFlow asks where it is, but does not load it."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in ("keras", "tf_keras") or (spec := PathFinder.find_spec(name, path, target)) is None:
            return None
        spec.loader = _NoLoader()
        return spec


class _NoLoader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        raise ImportError(f"{module.__name__} is not imported together with TensorFlow; see service.engine.tf.device.")


def give_memory_back() -> None:
    """Return to the system what loading or unloading a model has left behind, as much as the model itself is large.

    TensorFlow's graphs are cycles of references, which only the collector frees, and the C library keeps what is freed.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def gpu_memory() -> dict[str, dict[str, int]]:
    """Bytes that TensorFlow takes of each GPU in this process, `current` and `peak`, by the GPU's name."""
    tf = sys.modules.get("tensorflow")
    if tf is None or not _set_up.is_set():
        return {}
    try:
        names = [f"GPU:{number}" for number in range(len(tf.config.list_physical_devices("GPU")))]
        return {name: dict(tf.config.experimental.get_memory_info(name)) for name in names}
    except (RuntimeError, ValueError):  # not set up yet
        return {}


def bytes_taken_by(run: Callable[[], object]) -> int:
    """What something takes of the CPU's memory at most while it runs, by TensorFlow's allocator.

    The least of some runs: what else runs meanwhile counts too.

    Returns:
        0 where this build of TensorFlow does not tell.
    """
    memory = sys.modules["tensorflow"].config.experimental
    found = []
    with _measuring:
        try:
            for _ in range(_MEASURED):
                memory.reset_memory_stats("CPU:0")
                before = memory.get_memory_info("CPU:0")["current"]
                run()
                found.append(memory.get_memory_info("CPU:0")["peak"] - before)
        except (RuntimeError, ValueError) as error:  # its allocator keeps no statistics
            log.debug("The memory of a batch is not known: %s", error)
    return max(0, min(found, default=0))


def has_gpu() -> bool:
    """Whether TensorFlow, which is set up already, sees a GPU."""
    return bool(sys.modules["tensorflow"].config.list_physical_devices("GPU"))


def pads(device: DeviceSettings) -> bool:
    """Whether batches are padded to sizes that ran before; TensorFlow is set up already."""
    return has_gpu() if device.pad_batches is None else device.pad_batches


def placements(tf: Any, device: DeviceSettings) -> list[str]:
    """The devices that get a copy of each model: every GPU that TensorFlow sees, else the CPU."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus:
        return [f"/GPU:{number}" for number in range(gpus)]
    return [f"/CPU:{number}" for number in range(device.cpu_devices)]


def count_gpus() -> int:
    """How many GPUs TensorFlow sees, found out in a process of its own, as TensorFlow must not be there before a fork.

    Raises:
        SettingsError: it can't be found out.
    """
    code = "import tensorflow as tf; print('GPUs:', len(tf.config.list_physical_devices('GPU')))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_COUNT_S, check=True
        )
        return int(done.stdout.rpartition("GPUs:")[2])
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SettingsError(f"--require-gpu: TensorFlow can't list its GPUs: {error}") from error


def _why_a_gpu_is_expected(device: DeviceSettings) -> str:
    """What asks for a GPU; empty where nothing does."""
    if device.memory_fraction:
        return "--per_process_gpu_memory_fraction"
    for variable in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        if os.environ.get(variable, "").lower() not in _NO_GPU:
            return variable
    return "an NVIDIA driver is installed" if _NVIDIA_DRIVER.exists() else ""


def session_config(tf: Any, device: DeviceSettings) -> Any:
    """The configuration of a session."""
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=device.intra_op_threads or device.threads,
        inter_op_parallelism_threads=device.inter_op_threads or device.threads,
    )
    config.allow_soft_placement = True  # what a GPU can't run, strings for one, the CPU does
    config.device_count["CPU"] = device.cpu_devices
    config.gpu_options.allow_growth = not device.memory_fraction
    config.gpu_options.per_process_gpu_memory_fraction = device.memory_fraction
    if device.mixed_precision:
        rewriter = config.graph_options.rewrite_options
        if tf.config.list_physical_devices("GPU"):
            rewriter.auto_mixed_precision = rewriter.ON
        else:
            rewriter.auto_mixed_precision_onednn_bfloat16 = rewriter.ON
    return config


def callable_options(
    inputs: Sequence[str], outputs: Sequence[str], device: DeviceSettings, limit_s: float = 0.0
) -> Any:
    """How a session runs a function over and over, by the names of its tensors.

    Args:
        inputs: those that are fed.
        outputs: those that are fetched.
        device: how TensorFlow uses the device.
        limit_s: seconds after which a run is given up; 0 for none.
    """
    from tensorflow.core.protobuf.config_pb2 import CallableOptions

    options = CallableOptions(feed=inputs, fetch=outputs)
    if limit_s:  # which is only kept where the caller's thread is free to look at the clock
        options.run_options.timeout_in_ms = int(limit_s * 1e3)
    elif (device.inter_op_threads or device.threads) == 1:
        # In the caller's thread: a hand-over to the one thread that TensorFlow has takes as long as a small image.
        options.run_options.inter_op_thread_pool = -1
    return options


def _memory_mb(gpu: int) -> int:
    """The size of a GPU's memory in MiB, from its driver: TensorFlow tells it only once it has taken some; else 0."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        size, handle = ctypes.c_size_t(), ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(handle), gpu):
            return 0
        failed = driver.cuDeviceTotalMem_v2(ctypes.byref(size), handle)
    except (OSError, AttributeError):
        log.warning("The GPU's driver does not report its memory; memory is allocated as needed.")
        return 0
    return 0 if failed else size.value // 2**20
