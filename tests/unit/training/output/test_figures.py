"""Figures whatever people call their classes."""

from pathlib import Path

import numpy as np
import pytest

from training.output import figures

pytestmark = pytest.mark.slow  # TensorFlow

CLASSES = ("a$x^$b", "[b]", "50 %", "<i>")


def test_names_of_classes_are_no_formulas(tmp_path: Path) -> None:
    figures.confusion_matrix(np.eye(4, dtype=np.int64), CLASSES, "$x^$: 4 of 4", tmp_path / "matrix.png")
    figures.gallery(np.zeros((4, 8, 8, 3), dtype=np.uint8), CLASSES, tmp_path / "gallery.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("matrix.png", "gallery.png"))
