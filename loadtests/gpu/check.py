"""Whether Signpost works on this GPU, and how fast: `make gpu-check`.

    .venv/bin/python -m loadtests.gpu.check [--budget 300] [-- flags of signpost serve]

Seven steps on a copy of the store: start, verify, load (against what the host's cores and the bare model do), swaps,
kill (-9 of the engine), memory (of the device runs out) and training. It prints a table, writes it as JSON, and ends
with 1 where a step found what must not be. Where there is no GPU it says so and does the same with small numbers, on a
shared engine as it would be there, which shows that the check itself works.

`docs/gpu.md` has the figures that are known.
"""

import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from loadtests.gpu.clients import Generator
from loadtests.gpu.machine import GpuWatch
from loadtests.gpu.steps import STEPS, Host, Row
from loadtests.subject import host as hosts
from loadtests.subject.served import Served, served

# Seconds without which a step is not begun.
_LEAST_S: Final = 8.0
# With so many cores for one that makes load.
_CORES: Final = 8
# Without a GPU the shape of a service with one is asked for.
_SMALL: Final = ("--engine=shared", "--workers=2", "--pad-batches")
_QUICK_LOOKS: Final = "--file_system_poll_wait_seconds=0.2"


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--store", default=Path("model_store"), type=click.Path(path_type=Path), show_default=True)
@click.option("--steps", default=",".join(STEPS), show_default=True, help="Which steps, separated by commas.")
@click.option(
    "--budget", default=300.0, show_default=True, help="Seconds in total; steps that no time is left for are reported."
)
@click.option("--seconds", type=float, help="Seconds of each load; 3, or 0.5 without a GPU.")
@click.option("--swaps", type=int, help="Swaps of versions; 20, or 2 without a GPU.")
@click.option("--out", default=Path("build/gpu"), type=click.Path(path_type=Path), show_default=True)
@click.argument("serve_flags", nargs=-1, type=click.UNPROCESSED)
def main(
    store: Path, steps: str, budget: float, seconds: float | None, swaps: int | None, out: Path,
    serve_flags: tuple[str, ...],
) -> None:  # fmt: skip
    """Check this host, print a table and write it as JSON to a folder."""
    until_s = time.monotonic() + budget
    names = [name.strip() for name in steps.split(",") if name.strip()]
    if unknown := set(names) - STEPS.keys():
        raise click.BadParameter(
            f"there is no step {min(unknown)!r}; there are {', '.join(STEPS)}", param_hint="--steps"
        )
    machine = hosts.machine()
    has_gpu = bool(machine["gpus"])
    click.echo(f"{machine['cores']} cores, {machine['cpu']}; {', '.join(machine['gpus']) or 'no GPU'}.")
    if not has_gpu:
        click.echo(
            "There is no GPU: everything runs on the CPU with small sizes, so the figures say nothing about a GPU."
        )
    flags = (*(("--require-gpu",) if has_gpu else _SMALL), _QUICK_LOOKS, *serve_flags)
    rows: list[Row] = []
    watch, generator = GpuWatch(), Generator(max(1, machine["cores"] // _CORES) if has_gpu else 1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "store")
            shutil.copytree(store, copy)
            host = Host(
                copy, Path(folder), watch, generator, has_gpu, seconds or (3.0 if has_gpu else 0.5),
                swaps or (20 if has_gpu else 2), until_s, flags,
            )  # fmt: skip
            with served(copy, flags) as service:
                for name in names:
                    rows += _run(name, host, service)
    finally:
        generator.close()
        watch.close()
        _write(out, {"machine": machine, "versions": hosts.versions(), "flags": flags}, rows)
    bad = [row for row in rows if row.good is False]
    click.echo(f"\n{len(bad)} of {len(rows)} figures are out of bounds. Written to {out / 'check.json'}.")
    if bad:
        raise SystemExit(1)


def _run(name: str, host: Host, service: Served) -> list[Row]:
    """The rows of a step, each printed as it is found; what stops it is one too."""
    found: list[Row] = []
    if host.left_s < _LEAST_S:
        _show(Row(name, "left out", f"{max(0.0, host.left_s):.0f} s of the budget are left"), found)
        return found
    try:
        for row in STEPS[name](host, service):
            _show(row, found)
    except Exception as error:  # the other steps go on
        _show(Row(name, "stopped", f"{type(error).__name__}: {error}", False), found)
    return found


def _show(row: Row, found: list[Row]) -> None:
    found.append(row)
    verdict = {True: "ok", False: "NOT", None: ""}[row.good]
    click.echo(f"{row.step:<9}{verdict:<4}{row.what:<44} {row.told}")


def _write(out: Path, about: dict[str, Any], rows: list[Row]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    about["when"] = time.strftime("%Y-%m-%d %H:%M:%S")
    text = json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1)
    (out / "check.json").write_text(text + "\n")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
