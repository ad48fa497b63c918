"""The report: one HTML page that needs no network, and the document it was made of as JSON beside it."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2

from loadtests.plan import objective
from service.errors import SettingsError

Json = dict[str, Any]

_LATENCIES: Final = ("p50_s", "p95_s", "p99_s", "p99.9_s", "max_s")
_COUNTS: Final = ("requests", "answers/s", "images/s", "p50", "p95", "p99", "p99.9", "most", "failed", "late")


@dataclass(frozen=True)
class _Figure:
    heading: str
    caption: str
    svg: str


@dataclass(frozen=True)
class _Table:
    heading: str
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_last: bool = False


def write(path: Path, document: Json) -> Path:
    """Write the page, and the document beside it with the suffix `.json`.

    Returns:
        The path of the JSON.

    Raises:
        SettingsError: the folder can't be written.
    """
    beside = path.with_suffix(".json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(document, allow_nan=False) + "\n", "utf-8")
        path.write_text(page(document), "utf-8")
    except OSError as error:
        raise SettingsError(f"The report {path} can't be written: {error.strerror or error}.") from error
    return beside


def page(document: Json) -> str:
    """The HTML of a document."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    plan, capacity = document["plan"], document.get("capacity")
    return environment.get_template("report.html").render(
        title=", ".join(document["kinds"])
        if len(document["kinds"]) < 4
        else f"{len(document['kinds'])} kinds of request",
        subtitle=_subtitle(plan, document),
        created=document["created"].replace("T", " ").replace("+00:00", " UTC"),
        objectives=[] if capacity else document["objectives"],
        capacity=capacity,
        slo=document["slo"],
        warnings=document["generator"]["warnings"],
        tiles=list(_tiles(document)),
        figures=list(_figures(document)),
        failed=document["total"]["failed"],
        tables=list(_tables(document)),
        fact_tables=[
            ("Generator", _generator(document)),
            ("Service", _service(document)),
            ("Machine", _machine(document)),
        ],
    )


def _subtitle(plan: Json, document: Json) -> str:
    if document.get("capacity"):
        return f"search for the highest rate, {plan['arrivals']} arrivals"
    whole = document["total"]["until_s"] - document["total"]["from_s"]
    how = {"closed": "a closed loop: each user asks again when answered"}.get(
        plan["arrivals"], f"open arrivals ({plan['arrivals']}): requests are due regardless of the others"
    )
    return f"{whole:.0f} s, {how}"


def _tiles(document: Json) -> Iterator[tuple[str, str, str]]:
    total, intervals = document["total"], document["intervals"]

    def between(name: str, scale: float = 1.0, unit: str = "") -> str:
        low, high = intervals[name]
        return "" if low is None or high is None else f"95 % interval {low * scale:,.4g} to {high * scale:,.4g}{unit}"

    yield f"{total['rate']:,.1f}", "answers per second", between("rate")
    if total["images_per_s"] > total["rate"] * 1.001:
        yield f"{total['images_per_s']:,.1f}", "images per second", ""
    if document["slo"]:
        yield f"{total['goodput']:,.1f}", "goodput", "answers per second within the objective"
    for name in ("p50", "p99"):
        yield _ms(total[f"{name}_s"]), f"{name} latency", between(name, 1e3, " ms")
    yield f"{total['failed']:,}", f"of {total['due']:,} requests failed", ""


def _figures(document: Json) -> Iterator[_Figure]:
    from loadtests.results import figures  # Matplotlib, only for who draws

    plan = document["plan"]
    limit_s = document["within_s"] if document["within_s"] is not None else math.inf
    points = document["probes"] if document.get("capacity") else document["segments"]
    if len(points) > 1:
        unit = "users" if plan["arrivals"] == "closed" else "requests due per second"
        caption = (
            "Each point is a probe." if document.get("capacity") else "Each point is a part of the run with one load."
        )
        yield _Figure("Latency against load", caption, figures.against_load(points, unit, limit_s))
    times = document["over_time"]
    yield _Figure(
        "Over time",
        "Latency counts from when a request was due. Where a curve is missing, that percentile falls on failures.",
        figures.over_time(times, plan["warm_up_s"], limit_s, plan["arrivals"] != "closed"),
    )
    stages = {name: found for name, found in document["stages"].items() if found}
    if stages:
        caption = (
            "The stages as the service reports them (Server-Timing). Outside it: the network, HTTP, "
            "waiting for a thread or a connection, and the generator itself."
        )
        yield _Figure("Where the time goes", caption, figures.stages(stages))
    if document["batches"]:
        caption = "Sizes of the batches that the requests ran in, from the service's metrics, warm-up included."
        yield _Figure("Batch sizes", caption, figures.batches(document["batches"]))
    if document["total"]["failed"]:
        caption = "By the time the requests were due; the error texts are below."
        yield _Figure("Failures", caption, figures.errors(times))


def _tables(document: Json) -> Iterator[_Table]:
    closed = document["plan"]["arrivals"] == "closed"
    if document.get("capacity"):
        heads = ("due/s", "held", "answers/s", "p50", "p95", "p99", "failed")
        rows = [
            (
                f"{probe['load']:,.1f}",
                "yes" if probe["held"] else "no",
                f"{probe['rate']:,.1f}",
                *(_ms(probe[f"{name}_s"]) for name in ("p50", "p95", "p99")),
                f"{probe['failed']:,}",
            )
            for probe in document["probes"]
        ]
        yield _Table("Probes", "In the order in which they ran.", heads, rows)
    elif len(document["segments"]) > 1:
        rows = [(f"{each['load']:,.1f}", *_row(each)) for each in document["segments"]]
        yield _Table("By load", "", ("users" if closed else "due/s", *_COUNTS), rows)
    rows = [(name, *_row(found)) for name, found in document["kinds"].items()]
    yield _Table("By kind of request", "Late: sent more than 5 ms after they were due.", ("kind", *_COUNTS), rows)
    stages = [
        (name, stage, _ms(each["mean_s"]), _ms(each["p50_s"]), _ms(each["p99_s"]))
        for name, found in document["stages"].items()
        for stage, each in found.items()
    ]
    if stages:
        yield _Table("Stages", "", ("kind", "stage", "mean", "p50", "p99"), stages)
    if document["errors"]:
        rows = [(each["status"], f"{each['count']:,}", each["text"]) for each in document["errors"]]
        yield _Table("Errors", "Warm-up included.", ("status", "count", "text"), rows, text_last=True)


def _row(found: Json) -> tuple[str, ...]:
    return (
        f"{found['due']:,}",
        f"{found['rate']:,.1f}",
        f"{found['images_per_s']:,.1f}",
        *(_ms(found[name]) for name in _LATENCIES),
        f"{found['failed']:,}",
        f"{found['late']:,}",
    )


def _generator(document: Json) -> list[tuple[str, str]]:
    told, plan, floor = document["generator"], document["plan"], document["floor"]
    shares = ", ".join(f"{share:.0%}" for share in told["cpu_shares"])
    facts = [
        ("processes", f"{told['processes']}, of one CPU each: {shares}"),
        ("connections" if plan["arrivals"] != "closed" else "users", f"{plan['users']} at most"),
        (
            "sent after due",
            f"p50 {_ms(told['lag']['p50_s'])}, p99 {_ms(told['lag']['p99_s'])}, where a connection was free",
        ),
        ("no connection free", f"{told['waited']:.2%} of the requests"),
    ]
    if floor:
        text = (
            f"{floor['rate']:,.0f} requests/s at most from one process; a single user measures "
            f"p50 {_ms(floor['p50_s'])}, p99 {_ms(floor['p99_s'])} (the same requests, to a server that does nothing)"
        )
        facts.append(("floor", text))
    return facts


def _service(document: Json) -> list[tuple[str, str]]:
    told, load = document["service"], document.get("service_load")
    facts = [
        ("address", told["url"] + (" (started for this test)" if told["own"] else "")),
        ("models", ", ".join(f"{name} version {'/'.join(versions)}" for name, versions in told["models"].items())),
    ]
    if told["own"]:
        facts += [("store", told["store"]), ("flags", told["flags"] or "none: the defaults")]
    if load:
        facts += [
            ("CPU", f"{load['cpu_cores']:.2f} cores on average"),
            ("memory (PSS)", f"{load['pss_mib']:,.0f} MiB after the run"),
        ]
    return facts


def _machine(document: Json) -> list[tuple[str, str]]:
    told = document["machine"]
    limit = f", of which the control group allows {told['cpu_limit']:g}" if told["cpu_limit"] else ""
    where = "of the generator and the service" if document["service"]["own"] else "of the generator"
    return [
        ("this is that", where),
        ("CPU", f"{told['cpu']}, {told['cores']} cores{limit}"),
        ("memory", f"{told['memory_gib']} GiB"),
        ("GPU", ", ".join(told["gpus"]) or "none"),
        ("system", told["system"]),
        ("load average", f"{told['load_average']} before the run"),
        ("versions", ", ".join(f"{name} {version}" for name, version in document["versions"].items())),
    ]


def _ms(seconds: float | None) -> str:
    return objective.milliseconds(math.inf if seconds is None else seconds)


def lines(document: Mapping[str, Any]) -> Iterator[str]:
    """What the terminal shows in the end: a table of the kinds, the objectives and the warnings."""
    rows: list[tuple[str, ...]] = [("", *_COUNTS)]
    if len(document["segments"]) > 1 and not document.get("capacity"):
        unit = "users" if document["plan"]["arrivals"] == "closed" else "due/s"
        rows += [(f"{each['load']:,.0f} {unit}", *_row(each)) for each in document["segments"]]
    rows += [(name, *_row(found)) for name, found in document["kinds"].items()]
    if len(document["kinds"]) > 1:
        rows.append(("all", *_row(document["total"])))
    if document.get("capacity"):
        yield f"The probe at {document['plan']['stages'][0]['first']:,.1f} requests/s:"
    yield from aligned(rows)
    for each in document["errors"][:5]:
        yield f"{each['count']} x {each['status']}: {each['text']}"
    yield from (f"Careful: {warning}" for warning in document["generator"]["warnings"])
    if not document.get("capacity"):
        yield from (each["says"] for each in document["objectives"])


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of text in columns; all but the first column end at the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        first, *rest = zip(row, widths, strict=True)
        yield "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip()
