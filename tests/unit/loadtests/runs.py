"""Documents of runs, made of synthetic records, for the tests of what reads them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.plan import objective
from loadtests.plan.plan import Kind, Plan
from loadtests.plan.shapes import Stage
from loadtests.results import records, summary
from loadtests.results.records import Recorder

Json = dict[str, Any]


def document(
    folder: Path, *, seed: int = 0, slower: float = 1.0, failing: float = 0.0, slo: str = "", arrivals: str = "closed"
) -> Json:
    """A run of ten seconds at 100 requests per second and ten at 200, with latencies around 20 ms."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    stages = (Stage(0, 2, 100, 100), Stage(2, 10, 100, 100), Stage(12, 10, 200, 200))
    plan = Plan("http://127.0.0.1:1", "127.0.0.1:2", (Kind("image", "letters"),), stages, arrivals, 8)
    recorder = Recorder(folder, 0)
    recorder.flush(0.0, 0.0)
    at = 0.0
    while at < 22:
        at += random.exponential(1 / (100 if at < 12 else 200))
        latency = float(random.lognormal(np.log(0.02 * slower), 0.3))
        status = 503 if random.random() < failing else 200
        recorder.add(at, 0.0001, latency, status, 0, False, (0.002, 0.004, 0.008, 0.0001, latency * 0.9))
        if status != 200:
            recorder.count_error(status, "<b>too many</b> & more")
    recorder.flush(22.0, 3.0)
    recorder.close()
    objectives = objective.parse(slo)
    within_s = objective.within_s(objectives)
    return {
        "format": 1,
        "created": "2026-01-01T12:00:00+00:00",
        "machine": {
            "cpu": "Some CPU", "cores": 2, "cpu_limit": 1.5, "memory_gib": 8.0, "gpus": [], "system": "Linux 6",
            "load_average": 0.5,
        },
        "versions": {"signpost": "0.1.0", "python": "3.12.0"},
        "service": {
            "url": "http://127.0.0.1:1", "own": True, "flags": "--workers 2", "store": "model_store",
            "models": {"letters": ["1"]},
        },
        "plan": {**asdict(plan), "warm_up_s": 2.0},
        "floor": {"rate": 7000.0, "p50_s": 0.0001, "p99_s": 0.0003},
        **summary.make(plan, records.read(folder), records.read_beside(folder), 2.0, objectives),
        "batches": {"letters": {"1": 10.0, "2": 0.0, "3-4": 90.0, "> 4": 0.0}},
        "service_load": {"cpu_cores": 1.2, "pss_mib": 700.0, "ready_s": 5.0},
        "slo": slo,
        "within_s": within_s if within_s < 1e9 else None,
    }  # fmt: skip
