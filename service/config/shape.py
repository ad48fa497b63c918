"""The shape of a service where nobody says it: how many processes and threads, by what the host has.

Measured on 2 cores (docs/performance.md): a worker for each core, each with one TensorFlow thread, answers most,
as no core ever waits for another. Each worker holds TensorFlow and the models, so memory bounds their number; what
cores are left over then become TensorFlow threads.

With a GPU one process holds the models, and the workers decode for it. Measured on 16 cores with an H100 (docs/gpu.md):
a core decodes 665 photographs a second, the GPU answers 24,500 to 45,400, and eight workers answered 540 to 645 each.
So the GPU never is what photographs wait for: every core decodes but one, which the engine gets.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from service import store
from service.config.settings import AUTO, Settings

_THREADS: Final = 16
# MiB of a worker with its own engine: TensorFlow and the rest, and the models on disk so many times.
_WORKER_MB: Final = 700
_TIMES: Final = 4
# Workers take this share of the memory that is free at most.
_SHARE: Final = 0.5
# MiB of a worker that decodes for an engine elsewhere: 57, and the photographs at hand.
_GATEWAY_MB: Final = 100
# Of those before an engine process that computes on the CPU.
_BEFORE_CPU: Final = 8
# Instances of a batch at most.
_BATCH: Final = 32
_GPU_BATCH: Final = 64
# What these say where no GPU is to be used.
_CHOOSE_GPUS: Final = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_NO_GPU: Final = ("", "-1", "none", "void")
_MB: Final = 2**20


@dataclass(frozen=True)
class Host:
    """What a service may use of its host.

    Attributes:
        cores: by affinity and the container's share of the CPU.
        memory_mb: free now, in MiB, by the host and the container's limit.
        gpus: NVIDIA's that are visible.
    """

    cores: int
    memory_mb: int
    gpus: int

    def __str__(self) -> str:
        """In words."""
        gpus = "no GPU" if not self.gpus else f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}"
        return f"{self.cores} core{'s' if self.cores > 1 else ''}, {self.memory_mb / 1024:.1f} GiB free, {gpus}"


def look(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Host:
    """What this process may use; `root` is where the kernel's files are."""
    cgroup = root / "sys/fs/cgroup"
    cores = len(os.sched_getaffinity(0))
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, round(int(quota) / int(period))))
    available = re.search(r"MemAvailable:\s*(\d+) kB", _read(root / "proc/meminfo"))
    memory_mb = int(available[1]) // 1024 if available else 0
    limit, used = _read(cgroup / "memory.max"), _read(cgroup / "memory.current")
    if limit.isdigit() and used.isdigit():
        memory_mb = min(memory_mb, max(0, int(limit) - int(used)) // _MB)
    hidden = any(environment.get(each, "0").lower() in _NO_GPU for each in _CHOOSE_GPUS)
    gpus = 0 if hidden else sum(1 for each in root.glob("dev/nvidia[0-9]*"))
    return Host(cores, memory_mb, gpus)


def choose(settings: Settings, host: Host) -> Settings:
    """The settings with a number for each that is to be chosen by the host.

    With a GPU, and in workers that have models, `num_batch_threads` is left to the engine.
    """
    engine, workers = settings.engine, settings.workers
    if workers == AUTO:
        if engine == "shared" or (engine == "auto" and host.gpus):
            workers = _before_engine(host)
        elif settings.engine_addresses:
            workers = host.cores
        else:
            each_mb = _WORKER_MB + _TIMES * _models_mb(settings)
            workers = max(1, min(host.cores, int(host.memory_mb * _SHARE / each_mb)))
    if engine == "auto":
        engine = "shared" if host.gpus and workers > 1 else "local"
    tensorflow_threads, batches = settings.tensorflow_threads, settings.num_batch_threads
    if engine == "local" and workers > 1 and not tensorflow_threads:
        tensorflow_threads = max(1, host.cores // workers)
    if engine == "shared" and not host.gpus:  # as with workers that have a model each: no core waits for another
        tensorflow_threads = tensorflow_threads or 1
        batches = max(1, host.cores // tensorflow_threads) if batches == AUTO else batches
    threads = settings.threads if settings.threads != AUTO else _THREADS
    rows = settings.max_batch_size
    if rows == AUTO:
        rows = _GPU_BATCH if host.gpus and not settings.engine_addresses else _BATCH
    return replace(
        settings,
        engine=engine,
        workers=workers,
        threads=threads,
        tensorflow_threads=tensorflow_threads,
        num_batch_threads=batches,
        max_batch_size=rows,
    )


def _before_engine(host: Host) -> int:
    """Workers that decode for an engine process."""
    if not host.gpus:  # while one waits for the models, another one decodes
        return min(host.cores, _BEFORE_CPU)
    fit = max(1, int(host.memory_mb * _SHARE / _GATEWAY_MB))
    return min(fit, host.cores - 1 if host.cores > 2 else host.cores)


def own_cores(settings: Settings, cores: Collection[int]) -> list[int]:
    """The cores of which each worker gets one for itself; none unless there are as many as workers.

    Args:
        settings: of the service, with what was chosen.
        cores: those that it may use.
    """
    wanted = (settings.tensorflow_intra_op_parallelism, settings.tensorflow_inter_op_parallelism)
    alone = settings.engine == "local" and settings.tensorflow_threads == 1 and max(wanted) <= 1
    return sorted(cores) if settings.pin_workers and alone and len(cores) == settings.workers > 1 else []


def tell(settings: Settings, host: Host) -> str:
    """What was chosen, for the log."""
    workers = f"{settings.workers} worker{'s' if settings.workers > 1 else ''} of {settings.threads} threads"
    if settings.engine == "shared":
        models = "one engine process for all"
        if not host.gpus:
            batches, threads = settings.num_batch_threads, settings.tensorflow_threads
            models += f", {batches} batch{'es' if batches > 1 else ''} at a time, "
            models += f"each with {threads} TensorFlow thread{'s' if threads > 1 else ''}"
        else:
            models += (
                "; a GPU answers faster than all cores decode photographs, so there is a worker for each core but the "
                "engine's, as far as the memory goes"
            )
    elif settings.engine_addresses:
        models = "the engine runs elsewhere"
    else:
        threads = settings.tensorflow_threads or host.cores
        models = f"models in each, {threads} TensorFlow thread{'s' if threads > 1 else ''}"
        models += ", each pinned to its own core" if own_cores(settings, os.sched_getaffinity(0)) else ""
    return f"{host}: {workers}, {models}."


def _models_mb(settings: Settings) -> int:
    """Size of the newest version of each model of the store, in MiB; elsewhere 0, as this is an estimate only."""
    if settings.model_base_path is not None or settings.model_config_file is not None:
        return 0
    total = 0
    for model in store.models(settings.store).values():
        files = store.fingerprint([*store.versions(model).values()][-1])
        total += sum(size for size, _ in files.values())
    return total // _MB


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
