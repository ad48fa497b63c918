"""What changing versions costs those who ask meanwhile, where the store lies in a bucket.

    .venv/bin/python -m loadtests.faults.bucket_swaps

Trains two small versions of `circles`, puts them into a bucket of an S3 server of its own, serves them from there, and
changes from one to the other by the configuration in the bucket while clients ask. Prints what `loadtests.faults.swaps`
does; exits with 1 when a request was lost, mixed up or went back.
"""

import json
import os
import tempfile
from pathlib import Path

import click

from loadtests.faults.swaps import draw_picture, make_store, serving, swap_under_load
from loadtests.object_storage.s3_server import s3_server

_BUCKET = "models"
_STORE = Path(f"s3://{_BUCKET}/store")


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--clients", default=32, show_default=True)
@click.option("--swaps", default=20, show_default=True)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(clients: int, swaps: int, flags: tuple[str, ...]) -> None:
    """Measure what changing versions in a bucket costs; FLAGS go to `signpost serve`."""
    with tempfile.TemporaryDirectory() as name, s3_server(Path(name) / "s3.log") as s3:
        os.environ.update(s3.environment())
        s3.make_bucket(_BUCKET)
        s3.put_folder(_BUCKET, "store", make_store(Path(name)))
        quick = ("--store-poll-seconds=0.2", f"--store-cache={Path(name) / 'cache'}")
        with serving(_STORE, Path(name), (*quick, *flags)) as service:
            measured = swap_under_load(service, draw_picture(), clients, swaps)
    click.echo(json.dumps(measured, indent=1))
    if any(measured[wrong] for wrong in ("lost", "mixed", "went_back")):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
