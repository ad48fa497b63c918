"""The alerts, and what scales by Prometheus' queries: PromQL by its own grammar, of metrics that there are."""

import re
from collections.abc import Iterator

import promql_parser
import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.gateway.routes.metrics import Metrics
from service.interface import Queue
from tests.fakes import FakeEngine, classifier
from tests.unit.deploy.manifests import DEPLOY, KUBERNETES, read

RULES = [rule for group in read(DEPLOY / "alerts.yml")["groups"] for rule in group["rules"]]
# What Prometheus adds to a series, or Kubernetes' discovery does.
FOREIGN = {"instance", "job", "namespace", "pod", "le"}


def queries() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    [trigger] = read(KUBERNETES / "components" / "keda" / "scaledobject.yaml")["spec"]["triggers"]
    yield "keda", trigger["metadata"]["query"]
    [metric] = read(DEPLOY / "kserve" / "autoscaled.yaml")["spec"]["predictor"]["autoScaling"]["metrics"]
    yield "kserve", metric["external"]["metric"]["query"]


QUERIES = dict(queries())


def exported() -> dict[str, set[str]]:
    """The metrics of a service that has done everything once, with their labels."""
    metrics = Metrics(FakeEngine(classifier("m")))
    metrics.count("/route", "m", "1", 200, {"total": 0.1})
    metrics.count_comparison("m", "agree")
    metrics.count_stopped("m", 1, "serving_default")
    metrics.note_queues({("m", 1): Queue(1)})
    families = text_string_to_metric_families(generate_latest(metrics).decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples} | {"up": set()}


def selectors(part: object) -> Iterator[promql_parser.VectorSelector]:
    """Every selector of series in an expression."""
    if isinstance(part, promql_parser.VectorSelector):
        yield part
        return
    for name in ("lhs", "rhs", "expr", "vector_selector", "args", "param"):
        below = getattr(part, name, None)
        for each in below if isinstance(below, list) else [below]:
            if each is not None:
                yield from selectors(each)


@pytest.mark.parametrize("name", QUERIES)
def test_each_asks_for_metrics_and_labels_that_there_are(name: str) -> None:
    known = exported()
    found = list(selectors(promql_parser.parse(QUERIES[name])))
    assert found
    for selector in found:
        assert selector.name in known
        assert {each.name for each in selector.matchers.matchers} <= known[selector.name] | FOREIGN
    labels = set().union(*(known[selector.name] for selector in found))
    for group in re.findall(r"by \(([^)]*)\)", QUERIES[name]):
        assert {label.strip() for label in group.split(",")} <= labels | FOREIGN


def test_what_is_no_promql_is_found() -> None:
    with pytest.raises(ValueError, match=r"."):
        promql_parser.parse("sum by job (rate(signpost_requests_total[5m])")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_says_what_is_wrong_and_where(rule: dict[str, object]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert set(rule["annotations"]) == {"summary", "description"}  # type: ignore[call-overload]
    told = re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
    groups = re.findall(r"by \(([^)]*)\)", str(rule["expr"]))
    if groups:  # other labels are gone
        kept = set.intersection(*({label.strip() for label in group.split(",")} for group in groups))
        assert set(told) <= kept


def test_prometheus_reads_them() -> None:
    assert read(DEPLOY / "prometheus.yml")["rule_files"] == ["alerts.yml"]
    mounts = read(DEPLOY / "compose.yaml")["services"]["prometheus"]["volumes"]
    assert "./alerts.yml:/etc/prometheus/alerts.yml:ro" in mounts
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
