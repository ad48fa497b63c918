"""What runs a version now, and no longer what ran it before."""

from prometheus_client import generate_latest

from service.interface import Queue, RunBy
from service.telemetry.metrics import Metrics
from tests.fakes import FakeEngine


def shown(metrics: Metrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    told = [line.rsplit(" ", 1) for line in lines if line.startswith("signpost_runtime_")]
    return {name.removeprefix("signpost_runtime_"): float(value) for name, value in told}


def test_a_runtime_that_is_given_up_is_told_no_more() -> None:
    metrics = Metrics(FakeEngine())
    metrics.note_queues({("m", 1): Queue(run_by=RunBy("openvino", 1.6))})
    about = 'model="m",version="1"'
    info = 'info{model="m",runtime="%s",version="1"}'
    assert shown(metrics) == {info % "openvino": 1, f"gain{{{about}}}": 1.6}
    metrics.count_given_up("m", 1, "openvino")
    metrics.note_queues({("m", 1): Queue(run_by=RunBy(why="it failed"))})
    found = shown(metrics)
    assert (found[info % "openvino"], found[info % "tensorflow"], found[f"gain{{{about}}}"]) == (0, 1, 1)
    assert found['given_up_total{model="m",runtime="openvino",version="1"}'] == 1
    metrics.note_queues({})  # it was unloaded
    found = shown(metrics)
    assert (found[info % "tensorflow"], found[f"gain{{{about}}}"]) == (0, 0)


def test_a_gateway_leaves_it_to_its_engine() -> None:
    metrics = Metrics(FakeEngine())
    metrics.note_queues({("m", 1): Queue()})
    assert shown(metrics) == {}
