"""How the cost grows: with images per request, with clients, with models loaded, with workers.

Each curve is one run of each point, in order, so it shows a shape, not a value;
`loadtests/bench/limit.py` has the values.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from loadtests.bench import bench_models
from loadtests.raw import client
from loadtests.raw.client import Run
from loadtests.subject import pictures
from loadtests.subject.served import Served, served

IMAGES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CLIENTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
MODELS: Final = (1, 5, 10, 20)
WORKERS: Final = (1, 2, 4)
_SECONDS: Final = 0.8
_LONGEST_S: Final = 0.012  # that an image of a large form may take, so that some are answered
_KINDS: Final = {"PNG, sign_language": "sign_language", "JPEG, tutorial CNN": bench_models.TUTORIAL_CNN}
MODELS_NEEDED: Final = tuple(_KINDS.values())

Points = list[dict[str, Any]]


def measure(store: Path, serve_flags: Sequence[str], out: Path) -> dict[str, Any]:
    """Measure each curve, print it, and draw all of them to `growth.svg`.

    Args:
        store: holds `sign_language` and the models of `bench_models`.
        serve_flags: further flags of the service.
        out: folder for the figure.
    """
    with served(store, serve_flags) as service:
        found: dict[str, Any] = {
            "images": {name: _over_images(service, model) for name, model in _KINDS.items()},
            "clients": {name: _over_clients(service, model) for name, model in _KINDS.items()},
        }
    found["models"] = [_with_models(store, serve_flags, count) for count in MODELS]
    found["workers"] = [_with_workers(store, serve_flags, count) for count in WORKERS]
    for curve, points in found.items():
        for name, rows in points.items() if isinstance(points, dict) else (("", points),):
            click.echo(f"{curve} {name}".strip())
            for row in rows:
                click.echo(
                    "  " + ", ".join(f"{key} {value:,.2f}".rstrip("0").rstrip(".") for key, value in row.items())
                )
    draw(found, out / "growth.svg")
    return found


def _over_images(service: Served, model: str) -> Points:
    """Milliseconds for an image, for a lone client that posts forms of so many."""
    points = []
    for count in IMAGES:
        run = client.run(service.port, [_form(model, count)], 1, max(_SECONDS, count * _LONGEST_S))
        median_s = statistics.median(run.latencies_s) if run.latencies_s else float("nan")
        points.append({"images": count, "ms_per_image": median_s * 1e3 / count})
    return points


def _over_clients(service: Served, model: str) -> Points:
    points = []
    requests = _posts(model)
    client.run(service.port, requests, 32, _SECONDS / 2)
    for count in CLIENTS:
        run = client.run(service.port, requests, count, _SECONDS)
        points.append({"clients": count, "images_per_s": run.rate, **_tail(run), "refused": run.refused})
    return points


def _with_models(store: Path, serve_flags: Sequence[str], count: int) -> dict[str, Any]:
    """A service of so many copies of a model, each asked in turn."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            Path(folder, f"letters_{number}").symlink_to((store / "sign_language").resolve())
        with served(Path(folder), serve_flags) as service:
            requests = [post for number in range(count) for post in _posts(f"letters_{number}", 1)]
            client.run(service.port, requests, 32, _SECONDS / 2)
            run = client.run(service.port, requests, 32, _SECONDS)
            memory_mb = sum(service.pss_mb().values())
            return {"models": count, "images_per_s": run.rate, "ready_s": service.ready_s, "memory_mb": memory_mb}


def _with_workers(store: Path, serve_flags: Sequence[str], count: int) -> dict[str, Any]:
    with served(store, (*serve_flags, "--engine=local", f"--workers={count}")) as service:
        rates = {}
        for name, model in _KINDS.items():
            requests = _posts(model)
            client.run(service.port, requests, 32, _SECONDS / 2)
            rates[f"{name}, images_per_s"] = client.run(service.port, requests, 32, _SECONDS).rate
        memory_mb = sum(service.pss_mb().values())
        return {"workers": count, **rates, "ready_s": service.ready_s, "memory_mb": memory_mb}


def _images(model: str, count: int) -> tuple[str, list[bytes]]:
    if model == bench_models.TUTORIAL_CNN:
        return "image/jpeg", pictures.photographs(count)
    return "image/png", pictures.drawings(count)


def _posts(model: str, count: int = 8) -> list[bytes]:
    kind, images = _images(model, count)
    return [client.request(f"/v1/models/{model}:predict", kind, image) for image in images]


def _form(model: str, count: int) -> bytes:
    kind, images = _images(model, min(count, 8))
    several = [images[number % len(images)] for number in range(count)]
    return client.request(f"/v1/models/{model}:predict", *client.form(several, kind))


def _tail(run: Run) -> dict[str, float]:
    if len(run.latencies_s) < 2:
        return {"p50_ms": float("nan"), "p99_ms": float("nan")}
    cuts = statistics.quantiles(run.latencies_s, n=100)
    return {"p50_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3}


# What a curve is called in the figure.
_SHOWN: Final = {"images_per_s": "images/s", "ready_s": "time to start", "memory_mb": "memory"}


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw what `measure` found."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    panels = (
        (axes[0][0], "images", "images", "ms_per_image", "images in a request, one client", "ms for an image"),
        (axes[0][1], "clients", "clients", "images_per_s", "clients", "images/s answered"),
    )
    for axis, curve, x, y, x_label, y_label in panels:
        for name, rows in found[curve].items():
            axis.plot([row[x] for row in rows], [row[y] for row in rows], "o-", label=name)
        axis.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
        axis.set_xticks([row[x] for row in rows], [str(row[x]) for row in rows])
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.margins(y=0.2)
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,g}"))
        axis.yaxis.set_minor_formatter(ticker.NullFormatter())
        axis.grid(which="both", alpha=0.2)
        axis.legend()
    for axis, curve, title in ((axes[1][0], "models", "models loaded"), (axes[1][1], "workers", "workers")):
        rows = found[curve]
        for key in rows[0]:
            if key != curve:
                first = rows[0][key]
                axis.plot([row[curve] for row in rows], [row[key] / first for row in rows], "o-", label=_shown(key))
        axis.set(xlabel=title, ylabel="times the first point", ylim=(0, None), xticks=[row[curve] for row in rows])
        axis.grid(alpha=0.2)
        axis.legend()
    figure.savefig(path)
    pyplot.close(figure)


def _shown(key: str) -> str:
    of, _, name = key.rpartition(", ")
    return ", ".join(filter(None, (of, _SHOWN.get(name, name))))
