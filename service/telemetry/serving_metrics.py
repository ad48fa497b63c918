"""What TF Serving's users watch: its metrics under its names, counted by HTTP and gRPC alike.

Dashboards made for `tensorflow_model_server` read them from the path that `--monitoring_config_file` enables. Times are
in microseconds there; buckets, labels and the spelling of their values are TF Serving's.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric

from service.telemetry import shared_metrics

_REQUESTS: Final = ":tensorflow:serving:request_count"
_LATENCY: Final = ":tensorflow:serving:request_latency"
_RUNTIME: Final = ":tensorflow:serving:runtime_latency"
_EXAMPLE_COUNTS: Final = ":tensorflow:serving:request_example_counts"
_EXAMPLES: Final = ":tensorflow:serving:request_example_count_total"
_RUNS: Final = ":tensorflow:core:graph_runs"
_RUN_TIME: Final = ":tensorflow:core:graph_run_time_usecs"
_LOADS: Final = ":tensorflow:cc:saved_model:load_attempt_count"
_LOAD_LATENCY: Final = ":tensorflow:cc:saved_model:load_latency"

_LATENCY_BUCKETS_US: Final = tuple(float(f"{10 * 1.8**n:g}") for n in range(33))  # to about 20 minutes
_COUNT_BUCKETS: Final = tuple(float(2**n) for n in range(15))


class ServingMetrics:
    """The metrics of one process, in a registry of their own so that several can live in one process."""

    def __init__(self) -> None:
        """Make the metrics, all of them empty."""
        self.registry = CollectorRegistry()
        self._requests = self._counter(_REQUESTS, "model_name", "status")
        self._latency = self._histogram(_LATENCY, _LATENCY_BUCKETS_US, "model_name", "API", "entrypoint")
        self._runtime = self._histogram(_RUNTIME, _LATENCY_BUCKETS_US, "model_name", "API", "runtime")
        self._example_counts = self._histogram(_EXAMPLE_COUNTS, _COUNT_BUCKETS, "model")
        self._examples = self._counter(_EXAMPLES, "model")
        # Looking a series up takes longer than counting in it.
        self._requests_of = cache(self._requests.labels)
        self._latency_of = cache(self._latency.labels)
        self._runtime_of = cache(self._runtime.labels)
        self._example_counts_of = cache(self._example_counts.labels)
        self._examples_of = cache(self._examples.labels)
        self._runs = self._counter(_RUNS)
        self._run_time = self._counter(_RUN_TIME)
        self._loads = self._counter(_LOADS, "model_path", "status")
        self._load_latency = self._counter(_LOAD_LATENCY, "model_path")

    def count_request(self, model: str, api: str, entrypoint: str, status: str, *seconds: float) -> None:
        """Count answered requests.

        Args:
            model: its name; must be a model that there is.
            api: `Predict`, `Classify`…; over REST in lower case, as TF Serving spells it.
            entrypoint: `GRPC` or `REST`.
            status: gRPC's name of how they ended, e.g. `OK`.
            seconds: of each, from its arrival to its answer.
        """
        self._requests_of(model, status).inc(len(seconds))
        if status == "OK":
            shared_metrics.observe(self._latency_of(model, api, entrypoint), [each * 1e6 for each in seconds])

    def count_run(self, model: str, api: str, seconds: float, requests: int = 1) -> None:
        """Count the seconds that each of some requests spent in the model."""
        shared_metrics.observe(self._runtime_of(model, api, "TF1"), [seconds * 1e6] * requests)
        self._runs.inc(requests)
        self._run_time.inc(round(seconds * 1e6) * requests)

    def count_examples(self, model: str, examples: int) -> None:
        """Count the examples of a classification or regression."""
        self._example_counts_of(model).observe(examples)
        self._examples_of(model).inc(examples)

    def count_load(self, folder: Path, succeeded: bool, seconds: float) -> None:
        """Count an attempt to load a version."""
        self._loads.labels(str(folder), "success" if succeeded else "fail").inc()
        if succeeded:
            self._load_latency.labels(str(folder)).inc(round(seconds * 1e6))

    def text(self) -> str:
        """The page, in Prometheus' text format with TF Serving's names (the usual writer would end them in _total)."""
        return "\n".join(line for family in shared_metrics.families(self.registry) for line in _lines(family)) + "\n"

    def _counter(self, name: str, *labels: str) -> Counter:
        return Counter(name, "", labels, registry=self.registry)

    def _histogram(self, name: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, "", labels, buckets=buckets, registry=self.registry)


def _lines(family: Metric) -> Iterator[str]:
    # A counter's family has lost the _total of its name, and its samples have got one.
    name = _EXAMPLES if f"{family.name}_total" == _EXAMPLES else family.name
    yield f"# TYPE {name} {family.type}"
    for sample in family.samples:
        if sample.name.endswith("_created"):
            continue
        shown = name if family.type == "counter" else sample.name
        labels = ",".join(f'{label}="{_label_value(label, value)}"' for label, value in sample.labels.items())
        yield f"{shown}{{{labels}}} {_number(sample.value)}"


def _label_value(label: str, value: str) -> str:
    if label == "le" and value != "+Inf":
        return f"{float(value):g}"
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
