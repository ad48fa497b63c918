"""What a model has done so far, as Triton tells it; added up over all workers of a service."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from service.interface import Engine, ModelSpec, State
from service.oip.inference import leased
from service.telemetry.metrics import Metrics, is_success

_NS: Final = 1e9
# Routes and calls that run a model end so.
_RUNS: Final = (
    ":predict", ":classify", ":regress", "/infer", "/Predict", "/Classify", "/Regress", "/MultiInference",
    "/ModelInfer", "/ModelStreamInfer",
)  # fmt: skip
# Triton's names of what Signpost's stages are.
_STAGES: Final = {"queue": "queue", "compute_input": "decode", "compute_infer": "infer", "compute_output": "encode"}
_NOTHING: Final = {"count": 0, "ns": 0}

# What is counted of a version, by what and, for stages, which.
_Counts = dict[tuple[str, str], dict[str, float]]


def statistics(metrics: Metrics, engine: Engine, spec: ModelSpec | None = None) -> list[dict[str, Any]]:
    """The statistics of each version that serves, in the form of Triton's ModelStatistics in JSON.

    Args:
        metrics: those of the service.
        engine: tells which versions there are.
        spec: the model, and the version or label, that is asked for; None tells all.

    Raises:
        NotFound: no such model, version or label.
        Unavailable: it is not ready.
    """
    asked = None
    if spec is not None and (spec.version is not None or spec.label is not None):
        with leased(engine, spec) as servable:
            asked = servable.version
    models = engine.status().models
    if spec is not None and spec.name not in models:
        with leased(engine, spec):  # says why
            pass
    versions = [
        (name, str(each.version))
        for name, held in models.items()
        if spec is None or name == spec.name
        for each in sorted(held, key=lambda version: version.version)
        if each.state is State.AVAILABLE and asked in (None, each.version)
    ]
    counts = _read(metrics.families())
    return [_told(*version, counts[version]) for version in versions]


def _read(families: Iterable[Any]) -> _Counts:
    counts: _Counts = defaultdict(lambda: defaultdict(float))
    for family in families:
        for sample in family.samples:
            labels = sample.labels
            found = counts[labels.get("model", ""), labels.get("version", "")]
            if sample.name == "signpost_requests_total":
                if labels["route"].endswith(_RUNS):
                    found["success" if _succeeded(labels["status"]) else "fail"] += sample.value
            elif sample.name.startswith("signpost_stage_seconds_"):
                found[f"{labels['stage']}{sample.name.removeprefix('signpost_stage_seconds')}"] += (
                    0.0 if "le" in labels else sample.value
                )
            else:
                found[sample.name] += sample.value
    return counts


def _succeeded(status: str) -> bool:
    return is_success(int(status) if status.isdigit() else status)


def _told(name: str, version: str, found: dict[str, float]) -> dict[str, Any]:
    failed_s = found["signpost_failed_seconds_total"]
    return {
        "name": name,
        "version": version,
        "last_inference": round(found["signpost_last_run_timestamp_seconds"] * 1e3),
        "inference_count": round(found["signpost_instances_total"]),
        "execution_count": round(found["signpost_batches_total"]),
        "inference_stats": {
            "success": _duration(found["success"], max(0.0, found["total_sum"] - failed_s)),
            "fail": _duration(found["fail"], failed_s),
            **{shown: _duration(found[f"{stage}_count"], found[f"{stage}_sum"]) for shown, stage in _STAGES.items()},
            "cache_hit": _NOTHING,
            "cache_miss": _NOTHING,
        },
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [],
    }


def _duration(count: float, seconds: float) -> dict[str, int]:
    return {"count": round(count), "ns": round(seconds * _NS)}
