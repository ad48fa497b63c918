"""The pictures of a training, as small PNG files. Drawn without pyplot, so nothing is kept between figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.checkpoints import History

_TRAIN: Final = "#2a6f97"
_VALIDATION: Final = "#e07a1f"
_GRID: Final = "#dddddd"
_DPI: Final = 100
_MOST_NUMBERS: Final = 30  # classes beyond which a matrix's cells are too small for numbers


def curves(history: History, path: Path) -> None:
    """Loss and accuracy over the epochs, training and validation."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name, title in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("Loss", "Accuracy"), strict=True):
        epochs = np.arange(1, len(history) + 1)
        marker = "o" if len(history) < 20 else ""
        axes.plot(
            epochs, [row[name] for row in history], color=_TRAIN, marker=marker, ms=3, label="training (augmented)"
        )
        if history and f"val_{name}" in history[0]:
            values = [row[f"val_{name}"] for row in history]
            axes.plot(epochs, values, color=_VALIDATION, marker=marker, ms=3, label="validation (averaged weights)")
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("epoch")
        _plain(axes)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=_DPI)


def confusion_matrix(confusion: npt.NDArray[np.int64], classes: Sequence[str], title: str, path: Path) -> None:
    """Which class was taken for which; colours by share of the true class, numbers are images."""
    count = len(classes)
    side = min(9.0, 2.8 + 0.32 * count)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    if count <= _MOST_NUMBERS:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "#333333"
            size = 11 if count <= 6 else 6.5
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour, fontsize=size)
    axes.set_xticks(range(count), classes, rotation=90 if max(map(len, classes)) > 3 else 0, fontsize=8)
    axes.set_yticks(range(count), classes, fontsize=8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(title, loc="left", fontsize=11)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="share of the true class")
    figure.savefig(path, dpi=_DPI)


def _plain(axes: Axes) -> None:
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
