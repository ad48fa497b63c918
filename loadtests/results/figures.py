"""The pictures of a report, as SVG that takes its colours of text and lines from the page: light or dark."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

Json = Mapping[str, Any]

# Both are seen on white and on black.
_COLOURS: Final = {"p50": "#2a9d8f", "p95": "#e0a11f", "p99": "#d1495b"}
_RATE: Final = "#4a90c2"
_GOOD: Final = "#2a9d8f"
_BAD: Final = "#d1495b"
_STAGES: Final = {
    "decode": "#4a90c2", "queue": "#e0a11f", "infer": "#2a9d8f", "encode": "#9b72b0",
    "rest of the service": "#7f8c8d", "outside it": "#c4a484",
}  # fmt: skip
# Stand for what the page says.
_INK: Final = "#010203"
_LINE: Final = "#040506"
_STYLE: Final[Any] = {
    "svg.hashsalt": "signpost",
    "axes.edgecolor": _INK, "axes.labelcolor": _INK, "text.color": _INK, "xtick.color": _INK, "ytick.color": _INK,
    "grid.color": _LINE, "font.size": 9, "axes.titlelocation": "left", "axes.titlesize": 10, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
}  # fmt: skip


def against_load(points: Sequence[Json], unit: str, limit_s: float) -> str:
    """Latency and throughput against the load; `points` hold `load`, latencies and rates."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        ordered = sorted(points, key=lambda point: float(point["load"]))
        loads = [point["load"] for point in ordered]
        for name, colour in _COLOURS.items():
            left.plot(loads, [_ms(point[f"{name}_s"]) for point in ordered], "o-", ms=3.5, color=colour, label=name)
        _limit(left, limit_s)
        _latency(left)
        left.set(title="latency", xlabel=unit)
        right.plot(loads, [point["rate"] for point in ordered], "o-", ms=3.5, color=_RATE, label="answers/s")
        if math.isfinite(limit_s):
            goodput = [point["goodput"] for point in ordered]
            right.plot(loads, goodput, "o--", ms=3.5, color=_GOOD, label="within the objective")
        right.set(title="throughput", xlabel=unit, ylim=(0, None))
        for axes in (left, right):
            axes.set_xlim(0, None)
            _legend(axes)
        return _svg(figure, "load")


def over_time(points: Sequence[Json], warm_up_s: float, limit_s: float, is_open: bool) -> str:
    """Percentiles and rates, second by second."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 4.6), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        times = [point["at_s"] for point in points]
        for name, colour in _COLOURS.items():
            upper.plot(times, [_ms(point[f"{name}_s"]) for point in points], color=colour, lw=1.4, label=name)
        if any(point["p50_s"] is None for point in points):
            means = [_ms(point["mean_s"]) for point in points]
            upper.plot(times, means, color=_STAGES["rest of the service"], lw=1, ls="--", label="mean of good answers")
        _limit(upper, limit_s)
        _latency(upper)
        upper.set_title("latency")
        if is_open:
            due = [point["due"] / (point["until_s"] - point["from_s"]) for point in points]
            lower.plot(times, due, color=_STAGES["queue"], lw=1.4, ls="--", label="due/s")
        lower.plot(times, [point["rate"] for point in points], color=_RATE, lw=1.4, label="answers/s")
        lower.set(title="throughput", xlabel="seconds", ylim=(0, None))
        for axes in (upper, lower):
            if warm_up_s:
                axes.axvspan(0, warm_up_s, color=_STAGES["rest of the service"], alpha=0.15, lw=0, label="warm-up")
            _legend(axes)
        return _svg(figure, "time")


def batches(found: Mapping[str, Mapping[str, float]]) -> str:
    """Which share of each model's requests ran in batches of which size."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        for axes, (model, sizes) in zip(
            figure.subplots(1, len(found), squeeze=False, sharey=True)[0], found.items(), strict=True
        ):
            total = sum(sizes.values())
            kept = list(sizes)[: 1 + max(at for at, count in enumerate(sizes.values()) if count)]
            axes.bar(kept, [100 * sizes[name] / total for name in kept], color=_RATE)
            axes.set(title=model, xlabel="instances in the batch")
            axes.grid(visible=False, axis="x")
        figure.axes[0].set_ylabel("% of the requests")
        return _svg(figure, "batches")


def stages(found: Mapping[str, Json]) -> str:
    """Where the time of an answer goes, on average, for each kind of request."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 0.9 + 0.45 * len(found)), layout="constrained")
        axes = figure.subplots()
        names = list(found)
        left = [0.0] * len(names)
        for stage, colour in _STAGES.items():
            widths = [1e3 * _stage_s(found[name], stage) for name in names]
            axes.barh(names, widths, left=left, color=colour, label=stage, height=0.6)
            left = [before + width for before, width in zip(left, widths, strict=True)]
        axes.invert_yaxis()
        axes.set_xlabel("milliseconds, mean")
        axes.grid(visible=False, axis="y")
        figure.legend(*axes.get_legend_handles_labels(), ncols=6, loc="outside upper center")
        return _svg(figure, "stages")


def errors(points: Sequence[Json]) -> str:
    """How many of the requests that were due in each second failed."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 2.2), layout="constrained")
        axes = figure.subplots()
        width_s = points[0]["until_s"] - points[0]["from_s"]
        per_s = [point["failed"] / (point["until_s"] - point["from_s"]) for point in points]
        axes.bar([point["at_s"] for point in points], per_s, color=_BAD, width=0.9 * width_s)
        axes.set(xlabel="seconds", ylabel="failed/s", ylim=(0, None))
        return _svg(figure, "errors")


def _stage_s(found: Json, stage: str) -> float:
    if stage == "outside it":
        return max(0.0, float(found["outside"]["mean_s"]))
    if stage == "rest of the service":
        named = sum(found.get(name, {"mean_s": 0.0})["mean_s"] for name in ("decode", "queue", "infer", "encode"))
        return max(0.0, float(found["total"]["mean_s"] - named))
    return float(found.get(stage, {"mean_s": 0.0})["mean_s"])


def _ms(seconds: float | None) -> float:
    return math.nan if seconds is None else seconds * 1e3


def _limit(axes: Axes, limit_s: float) -> None:
    if math.isfinite(limit_s):
        axes.axhline(limit_s * 1e3, color=_INK, lw=1, ls=":", label="objective")


def _legend(axes: Axes) -> None:
    """Above the curves, so that it covers none."""
    axes.legend(ncols=6, loc="lower right", bbox_to_anchor=(1.0, 0.98), borderaxespad=0.2, columnspacing=1.2)


def _latency(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = axes.get_ylim()
    if high / low < 30:  # less than a decade and a half: its tens alone would be too few marks
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))
    else:
        axes.yaxis.set_minor_formatter(NullFormatter())


def _svg(figure: Figure, name: str) -> str:
    """The picture without its XML head; identifiers are its own, as several stand in one page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"|<svg height="[^"]*" ', r"<svg \1", text, count=1)
    return text.replace(_INK, "currentColor").replace(_LINE, "var(--line)")
