"""`signpost predict`: ask a running service about files, folders and standard input."""

import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import rich.markup
import rich.progress
from rich.console import Console
from rich.table import Table

from service.commands.client import CA_FILE, Client, Target
from service.errors import InvalidRequest, NotFound

Json = dict[str, Any]

# What is taken from a folder; a file that is named is asked about whatever its name.
_SUFFIXES: Final = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
    ".pnm", ".ico", ".tga", ".jp2", ".j2k", ".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif",
)  # fmt: skip
_STANDARD_INPUT: Final = Path("-")
# Requests at the same time; the service runs those that meet as one batch.
_AT_ONCE: Final = 8
# So many images are worth a bar.
_MANY: Final = 10


@dataclass(frozen=True)
class _Found:
    """What came of one image: an answer, or why there is none."""

    path: str
    answer: Json
    error: str = ""


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option("--url", default="http://127.0.0.1:8501", show_default=True, help="Where the service listens.")
@click.option(
    "--api-key",
    default="",
    envvar="SIGNPOST_API_KEY",
    help="API key of the service; safer as the environment variable.",
)
@click.option("--cacert", type=CA_FILE, help="CA certificates to trust, in PEM format, for an https:// address.")
@click.option("--model", help="Which model to ask; not needed where the service has only one.")
@click.option("--version", type=click.IntRange(0), help="Which version of it.")
@click.option("--label", help="Which version of it, by label.")
@click.option(
    "--top-k", type=click.IntRange(1), help="How many of the highest scores to print.  [default: 3, JSON: all]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each image, for programs.")
@click.pass_context
def predict(
    context: click.Context,
    paths: tuple[Path, ...],
    url: str,
    api_key: str,
    cacert: Path | None,
    model: str | None,
    version: int | None,
    label: str | None,
    top_k: int | None,
    as_json: bool,
) -> None:
    """Ask a running service what the images at PATH show.

    A PATH is a file, a folder, whose images are asked about with those of its subfolders, or - for standard input.

    The exit code is 1 when an image could not be answered; the others are, and it is told which and why.
    """
    if version is not None and label is not None:
        raise InvalidRequest("Give either --version or --label.")
    images = list(_images(paths))
    client = Client(url, api_key.strip(), ca_file=cacert)
    target = Target(model if model is not None else _only_model(client), version, label)
    failed = False
    # Lines of JSON on the terminal tell how far it is by themselves.
    with _bar(0 if as_json and sys.stdout.isatty() else len(images)) as bar:
        found = _ask(client, target, images, top_k if top_k is not None or as_json else 3)
        rows = []
        for each in bar(found):
            failed = failed or bool(each.error)
            if as_json:
                click.echo(json.dumps(_line(each), ensure_ascii=False))
            elif each.error:
                click.echo(f"{each.path}: {each.error}", err=True)
            else:
                rows.append(each)
    if rows:
        _print(rows)
    if failed:
        context.exit(1)


def _images(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that the paths name.

    Raises:
        InvalidRequest: a path that does not exist, or a folder without an image.
    """
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in _SUFFIXES and each.is_file())
            if not inside:
                raise InvalidRequest(f"The folder {path} contains no images (JPEG, PNG, WebP, GIF, BMP, TIFF, …).")
            yield from inside
        elif path == _STANDARD_INPUT or path.exists():
            yield path
        else:
            raise InvalidRequest(f"There is no {path}; give files, folders, or - for standard input.")


def _only_model(client: Client) -> str:
    models = client.models()
    if len(models) == 1:
        return models[0]
    if not models:
        raise NotFound("The service has no model.")
    raise InvalidRequest(f"The service has several models; choose one with --model: {', '.join(models)}.")


def _ask(client: Client, target: Target, images: list[Path], top_k: int | None) -> Iterator[_Found]:
    """Ask for every image, several at a time; the answers come in the order of the images.

    Raises:
        NotFound, Unavailable: what will not be better with the next image.
    """

    def ask(path: Path) -> _Found:
        name = "standard input" if path == _STANDARD_INPUT else str(path)
        try:
            image = sys.stdin.buffer.read() if path == _STANDARD_INPUT else path.read_bytes()
            return _Found(name, client.predict(target, image, top_k))
        except OSError as error:
            return _Found(name, {}, f"It can't be read: {error.strerror}.")
        except InvalidRequest as error:
            return _Found(name, {}, str(error))

    pool = ThreadPoolExecutor(min(_AT_ONCE, len(images)), thread_name_prefix="predict")
    try:
        yield from pool.map(ask, images)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _bar(count: int) -> Iterator[Any]:
    """Something that iterates over answers and shows how far it is: a bar, where someone looks and it takes a while."""
    console = Console(stderr=True)
    if count < _MANY or not console.is_terminal:
        yield iter
        return
    columns = (
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("images"),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        yield lambda found: progress.track(found, total=count)


def _line(found: _Found) -> Json:
    return {"path": found.path, "error": found.error} if found.error else {"path": found.path, **found.answer}


def _print(rows: list[_Found]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("next", style="dim", overflow="fold")
    for each in rows:
        rejected = each.answer["class"] is None
        ranked = sorted(each.answer["scores"].items(), key=lambda item: -item[1])
        others = (f"{name} {score:.1%}" for name, score in ranked if name != each.answer["class"])
        table.add_row(
            rich.markup.escape(each.path),
            rich.markup.escape(each.answer["class"] or "") + _doubt(each.answer),
            "" if rejected else f"{each.answer['score']:.1%}",
            "" if rejected else rich.markup.escape(", ".join(others)),
        )
    model = rows[0].answer["model"]
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{model['name']} version {model['version']}", style="dim", markup=False)


def _doubt(answer: Json) -> str:
    """What is said behind a class that the model only guesses at, as it does not know such images."""
    if answer.get("in_domain", True):
        return ""
    return "[dim]not known[/dim]" if answer["class"] is None else " [dim](not known)[/dim]"
