"""python -m loadtests.exports FOLDER: write the table's models, and requests with their right answers."""

import os
from pathlib import Path

import click

from loadtests.exports import cases, chosen


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, metavar="NAME", help="Only these rows of the table; may be repeated.")
@click.option("--cases", "count", default=64, show_default=True, help="Requests with known answers for each.")
def main(folder: Path, only: tuple[str, ...], count: int) -> None:
    """Write the models of the table and their cases into FOLDER."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    cases.write_all(tf, folder, chosen(only), count)


if __name__ == "__main__":
    main()
