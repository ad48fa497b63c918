"""The shape of a service, by what its host has."""

from pathlib import Path

import pytest

from service.config import shape
from service.config.settings import AUTO, Settings
from service.config.shape import Host


def auto(store: Path, **told: object) -> Settings:
    choosing = {"workers": AUTO, "threads": AUTO, "engine": "auto", "max_batch_size": AUTO, **told}
    return Settings(store=store, **choosing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "told", "workers", "engine", "tensorflow_threads"),
    [
        (Host(1, 16_000, 0), {}, 1, "local", 0),
        (Host(2, 16_000, 0), {}, 2, "local", 1),
        (Host(2, 1_000, 0), {}, 1, "local", 0),
        (Host(32, 64_000, 0), {}, 32, "local", 1),
        (Host(32, 15_000, 0), {}, 10, "local", 3),
        (Host(8, 0, 0), {}, 1, "local", 0),
        (Host(8, 64_000, 0), {"tensorflow_threads": 4}, 8, "local", 4),
        (Host(8, 64_000, 0), {"workers": 3}, 3, "local", 2),
        (Host(8, 64_000, 0), {"workers": 1}, 1, "local", 0),
        (Host(8, 64_000, 0), {"engine": "shared"}, 8, "shared", 1),
        (Host(8, 64_000, 0), {"engine": "shared", "tensorflow_threads": 4}, 8, "shared", 4),
        (Host(8, 64_000, 0), {"engine": "gpu-0:8500"}, 8, "gpu-0:8500", 0),
        (Host(1, 64_000, 1), {}, 1, "local", 0),
        (Host(2, 64_000, 1), {}, 2, "shared", 0),
        (Host(3, 64_000, 1), {}, 2, "shared", 0),
        (Host(6, 64_000, 1), {}, 5, "shared", 0),
        (Host(16, 120_000, 1), {}, 15, "shared", 0),
        (Host(64, 64_000, 4), {}, 63, "shared", 0),
        (Host(64, 4_000, 1), {}, 20, "shared", 0),
        (Host(8, 0, 1), {}, 1, "local", 0),
        (Host(64, 64_000, 0), {"engine": "shared"}, 8, "shared", 1),
        (Host(64, 64_000, 4), {"workers": 20}, 20, "shared", 0),
        (Host(64, 64_000, 1), {"workers": 1}, 1, "local", 0),
        (Host(64, 64_000, 1), {"engine": "local", "workers": 2}, 2, "local", 32),
    ],
)
def test_what_is_chosen(
    tmp_path: Path, host: Host, told: dict[str, object], workers: int, engine: str, tensorflow_threads: int
) -> None:
    chosen = shape.choose(auto(tmp_path, **told), host)
    assert (chosen.workers, chosen.engine, chosen.tensorflow_threads) == (workers, engine, tensorflow_threads)
    assert chosen.threads == 16
    assert f"{workers} worker" in shape.tell(chosen, host)


@pytest.mark.parametrize(
    ("gpus", "told", "rows"),
    [
        (0, {}, 32),
        (1, {}, 64),
        (1, {"engine": "local"}, 64),
        (1, {"engine": "gpu-0:8500"}, 32),
        (1, {"max_batch_size": 8}, 8),
    ],
)
def test_how_large_batches_are(tmp_path: Path, gpus: int, told: dict[str, object], rows: int) -> None:
    assert shape.choose(auto(tmp_path, **told), Host(8, 16_000, gpus)).max_batch_size == rows


@pytest.mark.parametrize(
    ("host", "told", "batches"),
    [
        (Host(8, 64_000, 0), {"engine": "shared"}, 8),
        (Host(8, 64_000, 0), {"engine": "shared", "tensorflow_threads": 4}, 2),
        (Host(8, 64_000, 0), {"engine": "shared", "num_batch_threads": 3}, 3),
        (Host(8, 64_000, 0), {}, AUTO),
        (Host(8, 64_000, 1), {}, AUTO),
    ],
)
def test_how_many_batches_run_at_a_time(tmp_path: Path, host: Host, told: dict[str, object], batches: int) -> None:
    chosen = shape.choose(auto(tmp_path, **{"num_batch_threads": AUTO, **told}), host)
    assert chosen.num_batch_threads == batches
    if chosen.engine == "shared" and not host.gpus:
        assert f"one engine process for all, {batches} batches at a time, each with" in shape.tell(chosen, host)


def test_why_there_are_so_many_workers_is_told_on_a_gpu(tmp_path: Path) -> None:
    host = Host(16, 120_000, 1)
    told = shape.tell(shape.choose(auto(tmp_path), host), host)
    assert told.startswith("16 cores, 117.2 GiB free, 1 GPU: 15 workers of 16 threads, one engine process for all; ")
    assert "a worker for each core but the engine's" in told
    host = Host(16, 120_000, 0)
    assert "decode" not in shape.tell(shape.choose(auto(tmp_path, engine="shared"), host), host)


@pytest.mark.parametrize(
    ("cores", "told", "own"),
    [
        ({0, 1}, {}, [0, 1]),
        ({3, 9, 5}, {"workers": 3, "tensorflow_threads": 1}, [3, 5, 9]),
        ({0}, {"workers": 1}, []),
        ({0, 1, 2, 3}, {}, []),  # two of them by the container's quota: whose the others are, nobody knows
        ({0, 1}, {"pin_workers": False}, []),
        ({0, 1}, {"tensorflow_threads": 2}, []),
        ({0, 1}, {"tensorflow_intra_op_parallelism": 2}, []),
        ({0, 1}, {"engine": "gpu-0:8500"}, []),
    ],
)
def test_who_gets_a_core_of_its_own(tmp_path: Path, cores: set[int], told: dict[str, object], own: list[int]) -> None:
    settings = shape.choose(auto(tmp_path, **told), Host(2, 16_000, 0))
    assert shape.own_cores(settings, cores) == own


def test_what_is_told_stays(tmp_path: Path) -> None:
    told = Settings(store=tmp_path, workers=3, threads=5, tensorflow_threads=7, engine="local")
    assert shape.choose(told, Host(2, 16_000, 1)) == told


def test_large_models_leave_room_for_fewer_workers(tmp_path: Path) -> None:
    version = tmp_path / "m" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    with (version / "weights").open("wb") as file:
        file.truncate(500 * 2**20)
    assert shape.choose(auto(tmp_path), Host(8, 16_000, 0)).workers == 2


def test_a_container_counts_by_its_limits(tmp_path: Path) -> None:
    def write(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    write("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:    4096000 kB\n")
    free = shape.look({}, tmp_path)
    assert (free.memory_mb, free.gpus) == (4000, 0)
    write("sys/fs/cgroup/cpu.max", "100000 100000\n")
    write("sys/fs/cgroup/memory.max", str(3000 * 2**20))
    write("sys/fs/cgroup/memory.current", str(1000 * 2**20))
    write("dev/nvidia0", "")
    write("dev/nvidiactl", "")
    assert shape.look({}, tmp_path) == Host(1, 2000, 1)
    assert shape.look({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path).gpus == 0
    write("sys/fs/cgroup/cpu.max", "max 100000\n")
    write("sys/fs/cgroup/memory.max", "max\n")
    assert shape.look({}, tmp_path) == Host(free.cores, 4000, 1)
