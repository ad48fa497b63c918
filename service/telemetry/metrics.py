"""Signpost's own metrics for Prometheus, counted by HTTP and gRPC alike."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.interface import Engine, Queue, RunBy, State
from service.telemetry import shared_metrics
from service.telemetry.serving_metrics import ServingMetrics
from service.version import __version__

# Seconds; from a cache hit in a tiny model to a large model on a slow host.
_STAGE_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one process, in a registry of their own so that several can live in one process.

    Attributes:
        serving: the same requests under TF Serving's names.
    """

    def __init__(
        self,
        engine: Engine,
        serving: ServingMetrics | None = None,
        processes: Callable[[], Iterable[int]] = lambda: (os.getpid(),),
    ) -> None:
        """Make the metrics; `engine` is asked for the states of its versions when they are read.

        Args:
            engine: what answers.
            serving: the same requests under TF Serving's names.
            processes: those of the service, whose memory and CPU seconds add up.
        """
        self.registry = CollectorRegistry()  # of counts, which add up over the workers
        self._now = CollectorRegistry()  # of what is looked up when it is asked for
        self.serving = serving or ServingMetrics()
        self._requests = Counter(
            "signpost_requests",
            "Requests answered.",
            ("route", "model", "version", "status"),
            registry=self.registry,
        )
        self._stages = Histogram(
            "signpost_stage_seconds",
            "Seconds that requests spent in each stage: decode, queue, infer, encode and in total.",
            ("model", "version", "stage"),
            buckets=_STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self._batches = Histogram(
            "signpost_batch_instances",
            "Instances in the batch that a request ran in.",
            ("model", "version"),
            buckets=_BATCH_BUCKETS,
            registry=self.registry,
        )
        self._images = Counter("signpost_images", "Images decoded.", ("model", "version"), registry=self.registry)
        self._instances = Counter(
            "signpost_instances", "Instances answered.", ("model", "version"), registry=self.registry
        )
        self._runs = Counter(
            "signpost_batches",
            "Batches run; each request counts its share of the batches it was in.",
            ("model", "version"),
            registry=self.registry,
        )
        self._failed = Counter(
            "signpost_failed_seconds",
            "Duration in seconds of failed requests that a model was to answer.",
            ("model", "version"),
            registry=self.registry,
        )
        self._last_run = Gauge(
            "signpost_last_run_timestamp_seconds",
            "When a version last answered, in Unix time.",
            ("model", "version"),
            registry=self.registry,
            multiprocess_mode="max",
        )
        self._comparisons = Counter(
            "signpost_canary_comparisons",
            "Requests repeated on the canary: agree, differ, failed, or skipped for lack of time.",
            ("model", "outcome"),
            registry=self.registry,
        )
        self._stopped = Counter(
            "signpost_joining_stopped",
            "Signatures whose requests are no longer joined in batches because a row depended on others.",
            ("model", "version", "signature"),
            registry=self.registry,
        )
        self._given_up = Counter(
            "signpost_runtime_given_up",
            "Versions whose runtime was given up while they served, so that TensorFlow runs them again.",
            ("model", "version", "runtime"),
            registry=self.registry,
        )
        self._queues = Gauge(
            "signpost_queue_instances",
            "Instances waiting for a batch, sampled several times a second.",
            ("model", "version"),
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._refusals = Counter(
            "signpost_refusals", "Requests refused because too many others waited for a thread.", registry=self.registry
        )
        self._lanes = Counter(
            "signpost_lane_requests",
            "HTTP requests, by what answered them: Flask, the express lane, or the front before either.",
            ("lane",),
            registry=self.registry,
        )
        self._front_wait = self._gauge("front_wait_seconds", "Seconds that another request would wait for a thread.")
        version = ("model", "version")
        self._waits = self._gauge("queue_wait_seconds", "Seconds that another request would wait for a batch.", version)
        self._batch_rows = self._gauge("batch_limit_instances", "Maximum instances in a batch.", version)
        self._batch_waits = self._gauge(
            "batch_wait_seconds", "Seconds that a batch of one waits for more requests.", version
        )
        self._runtimes = self._gauge(
            "runtime_info", "1 for the runtime that runs a version.", ("model", "version", "runtime")
        )
        self._gains = self._gauge(
            "runtime_gain", "How many times as fast as TensorFlow a version's runtime was on this host.", version
        )
        # Looking a series up takes longer than counting in it, and each request counts in several.
        self._requests_of = cache(self._requests.labels)
        self._stages_of = cache(self._stages.labels)
        self._batches_of = cache(self._batches.labels)
        self._images_of = cache(self._images.labels)
        self._instances_of = cache(self._instances.labels)
        self._runs_of = cache(self._runs.labels)
        self._last_run_of = cache(self._last_run.labels)
        self._lane_of = cache(self._lanes.labels)
        self._run_by: dict[tuple[str, str], str] = {}
        self._queued: set[tuple[str, int]] = set()
        self._gpu_memory = Gauge(
            "signpost_gpu_memory_bytes",
            "GPU memory used by models: now and at its peak, sampled several times a second.",
            ("device", "kind"),
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._now.register(_BuildInfo())
        self._now.register(_VersionStates(engine))
        self._now.register(shared_metrics.Processes(processes))

    def _gauge(self, name: str, says: str, labels: Sequence[str] = ()) -> Gauge:
        """A gauge of which the largest value of all processes counts."""
        return Gauge(f"signpost_{name}", says, labels, registry=self.registry, multiprocess_mode="livemax")

    def collect(self) -> Iterator[Metric]:
        """All of them, for the page."""
        yield from shared_metrics.families(self.registry)
        yield from self._now.collect()

    def show(self, more: Collector) -> None:
        """Show on the page what another collector has, too."""
        self._now.register(more)

    def families(self) -> Iterable[Metric]:
        """The counts, over all processes where they are shared."""
        return shared_metrics.families(self.registry)

    def count(self, route: str, model: str, version: str, status: int | str, *stages_s: Mapping[str, float]) -> None:
        """Count answered requests and, where a model answered them, the seconds of each stage; all have the same."""
        self._requests_of(route, model, version, status).inc(len(stages_s))
        if version:
            if not is_success(status):
                self._failed.labels(model, version).inc(sum(each["total"] for each in stages_s))
            for stage in stages_s[0]:
                shared_metrics.observe(self._stages_of(model, version, stage), [each[stage] for each in stages_s])

    def count_lane(self, lane: str, requests: int) -> None:
        """Count requests that a lane has answered."""
        self._lane_of(lane).inc(requests)

    def count_batch(self, model: str, version: int, instances: int, requests: int = 1, rows: int = 1) -> None:
        """Count the batch in which requests ran.

        Args:
            model: its name.
            version: its number.
            instances: of the batch.
            requests: how many ran in it.
            rows: instances of each of them.
        """
        key = (model, str(version))
        shared_metrics.observe(self._batches_of(*key), [instances] * requests)
        self._instances_of(*key).inc(rows * requests)
        self._runs_of(*key).inc(rows * requests / max(1, instances))
        self._last_run_of(*key).set(time.time())

    def count_images(self, model: str, version: int, images: int) -> None:
        """Count decoded images."""
        self._images_of(model, str(version)).inc(images)

    def count_comparison(self, model: str, outcome: str) -> None:
        """Count a request that was repeated on the canary; see `service.engine.canary`."""
        self._comparisons.labels(model, outcome).inc()

    def count_stopped(self, model: str, version: int, signature: str) -> None:
        """Count a signature whose requests are no longer joined; see `service.engine.batched_servable`."""
        self._stopped.labels(model, str(version), signature).inc()

    def count_given_up(self, model: str, version: int, runtime: str) -> None:
        """Count a version whose runtime is given up while it serves; see `service.engine.runtimes`."""
        self._given_up.labels(model, str(version), runtime).inc()

    def count_refusal(self) -> None:
        """Count a request that was refused before it was read; see `service.admission`."""
        self._refusals.inc()

    def note_queues(self, queued: Mapping[tuple[str, int], Queue], front_wait_s: float = 0.0) -> None:
        """Note what waits now, by model and version, and how long a request would wait for a thread."""
        self._front_wait.set(front_wait_s)
        for model, version in self._queued | queued.keys():
            queue = queued.get((model, version), Queue())
            self._queues.labels(model, str(version)).set(queue.rows)
            self._waits.labels(model, str(version)).set(queue.wait_s)
            self._batch_rows.labels(model, str(version)).set(queue.batch_rows)
            self._batch_waits.labels(model, str(version)).set(queue.batch_wait_s)
            self._note_runtime(model, str(version), queue.run_by)
        self._queued |= queued.keys()

    def _note_runtime(self, model: str, version: str, by: RunBy | None) -> None:
        runtime = "" if by is None else by.runtime
        before = self._run_by.get((model, version), "")
        if runtime == before:
            return
        if before:
            self._runtimes.labels(model, version, before).set(0)
        if by is not None:
            self._runtimes.labels(model, version, runtime).set(1)
        self._gains.labels(model, version).set(0 if by is None else by.gain)
        self._run_by[model, version] = runtime

    def note_gpu_memory(self, taken: Mapping[str, Mapping[str, int]]) -> None:
        """Note the bytes that this process takes of each GPU, `current` and `peak`, by its name."""
        for device, kinds in taken.items():
            for kind, size in kinds.items():
                self._gpu_memory.labels(device, kind).set(size)


class _BuildInfo(Collector):
    """What runs here: the same in every process, so each may tell."""

    def collect(self) -> Iterator[Metric]:
        """One sample, whose labels tell the versions."""
        info = GaugeMetricFamily(
            "signpost_build_info",
            "The versions of Signpost, TensorFlow and Python; the value is always 1.",
            labels=("version", "tensorflow", "python"),
        )
        info.add_metric((__version__, _installed("tensorflow"), platform.python_version()), 1.0)
        yield info


@cache
def _installed(name: str) -> str:
    """The version of a package; empty where it is not installed, as TensorFlow is not behind every gateway."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def is_success(status: int | str) -> bool:
    """Whether a request that ended so was answered: HTTP's status, or gRPC's name of it."""
    return status == "OK" if isinstance(status, str) else status < 400


class _VersionStates(Collector):
    """The state of each version, read from the engine when Prometheus asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        states = GaugeMetricFamily(
            "signpost_version_state", "1 for the state that a version is in.", labels=("model", "version", "state")
        )
        for model, versions in self._engine.status().models.items():
            for version in versions:
                for state in State:
                    if state is not State.UNKNOWN:
                        states.add_metric([model, str(version.version), state.name], float(version.state is state))
        yield states
