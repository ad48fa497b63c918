"""Counts wrong answers: every way to export a model, asked by several clients at once, compared with TensorFlow's own.

    .venv/bin/python -m loadtests.faults.wrong_answers --requests 20000

Writes the models of `loadtests/exports/` with the answers that TensorFlow's own loaders give, serves them, and asks for
each over HTTP and gRPC, with requests joined as the service sees fit, never, and as TensorFlow Serving joins them
(`true`, for information). Prints a table. Exits with 1 when an answer was wrong, a request failed, or the service joins
or refuses otherwise than is expected.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from loadtests.asking import clients
from loadtests.asking.service import Service, serving
from loadtests.exports import cases, chosen, written
from loadtests.exports.export import Export, says

# By --enable_batching: what is said on the command line. Without a word the service joins where that can't be wrong.
_MODES: Final[dict[str, tuple[str, ...]]] = {
    "auto": (),
    "false": ("--enable_batching=false",),
    "true": ("--enable_batching=true",),
}

_TITLES: Final = (
    "",
    "model",
    "expected",
    "mode",
    *("HTTP", "wrong", "errors"),
    *("gRPC", "wrong", "errors"),
    "it says",
)
_WIDTH: Final = 200
_SAID: Final = 90


@dataclass(frozen=True)
class Row:
    """What was found of a model in a mode, over a protocol.

    Attributes:
        model: its name.
        mode: of `--enable_batching`.
        protocol: HTTP or gRPC.
        expected: what should become of it.
        said: what the service says of it.
        requests: how many were sent.
        wrong: how many answers differed.
        errors: how many failed.
        first: the first wrong answer or error.
        as_expected: whether the service does with it what it should.
    """

    model: str
    mode: str
    protocol: str
    expected: str
    said: str
    requests: int
    wrong: int
    errors: int
    first: str
    as_expected: bool

    @property
    def good(self) -> bool:
        """Whether nothing is wrong with it; joining as TensorFlow Serving does may be."""
        return self.as_expected and not self.errors and (not self.wrong or self.mode == "true")


def look(service: Service, export: Export, mode: str) -> tuple[str, bool]:
    """What a service says of a row of the table, and whether that is as expected."""
    failure = service.failure(export.name)
    if failure:
        return f"refused: {failure}", bool(export.refused) and export.refused in failure
    if export.refused:
        return "serves", False
    joining = service.joining(export.name)
    said = [
        "joined" if joining[name]["joined"] else f"not joined: {joining[name]['why']}" for name in export.signatures
    ]
    right = mode != "auto" or all(
        asked.joined in (None, joining[name]["joined"]) and says(joining[name].get("why", ""), asked.why)
        for name, asked in export.signatures.items()
    )
    return "; ".join(dict.fromkeys(said)), right


def measure(
    folder: Path, exports: Sequence[Export], mode: str, flags: Sequence[str], count: int, requests: int
) -> Iterator[Row]:
    """Serve the written table in a mode, with further flags, and ask for each of its models over each protocol."""
    with serving(cases.store_of(folder), [*_MODES[mode], *flags]) as service:
        for export in exports:
            said, as_expected = look(service, export, mode)
            for protocol in clients.PROTOCOLS:
                outcome = clients.Outcome()
                if not service.failure(export.name):
                    asked = cases.read(folder, export.name)
                    address = service.address_of(protocol)
                    outcome = clients.ask(protocol, address, export.name, asked, count, requests)
                yield Row(
                    export.name, mode, protocol, export.becomes, said,
                    outcome.requests, outcome.wrong, outcome.errors, outcome.first, as_expected,
                )  # fmt: skip


def show(rows: Sequence[Row]) -> None:
    """Print one line for each model and mode."""
    table = Table(box=None, pad_edge=False)
    for title in _TITLES:
        table.add_column(title, justify="right" if title in ("HTTP", "gRPC", "wrong", "errors") else "left")
    for http, grpc in zip(rows[::2], rows[1::2], strict=True):
        numbers = [str(n) for row in (http, grpc) for n in (row.requests, row.wrong, row.errors)]
        said = http.said if len(http.said) <= _SAID else f"{http.said[:_SAID]}…"
        mark = "" if http.good and grpc.good else "!"
        expected = "; ".join(part.partition(":")[0] for part in http.expected.split("; "))
        table.add_row(mark, http.model, expected, http.mode, *numbers, said)
    Console(width=_WIDTH, markup=False, highlight=False).print(table)
    for row in rows:
        if row.first:
            click.echo(f"{row.model} ({row.protocol}, {row.mode}): {row.first}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--only", multiple=True, metavar="NAME", help="Only these rows of the table; may be repeated.")
@click.option("--requests", default=2000, show_default=True, help="For each model, protocol and mode.")
@click.option("--clients", "count", default=8, show_default=True, help="How many clients ask at the same time.")
@click.option("--mode", "modes", multiple=True, type=click.Choice(list(_MODES)), help="Only these; all by default.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Also write the results to this file.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Exports already written by `python -m loadtests.exports`."
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(
    only: tuple[str, ...],
    requests: int,
    count: int,
    modes: tuple[str, ...],
    file: Path | None,
    folder: Path | None,
    flags: tuple[str, ...],
) -> None:
    """Count wrong answers for each way to export a model; FLAGS go to `signpost serve`."""
    exports = chosen(only)
    rows: list[Row] = []
    with written(exports, folder) as models:
        for mode in modes or _MODES:
            for row in measure(models, exports, mode, flags, count, requests):
                rows.append(row)
                click.echo(f"{row.model} {row.protocol} {mode}: {row.wrong} wrong, {row.errors} errors", err=True)
    order = [export.name for export in exports]
    rows.sort(key=lambda row: (order.index(row.model), list(_MODES).index(row.mode)))
    show(rows)
    if file is not None:
        document: list[dict[str, Any]] = [asdict(row) for row in rows]
        file.write_text(json.dumps(document, indent=1))
    if not all(row.good for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
