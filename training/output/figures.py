"""The pictures of a training, as small PNG files. Drawn without pyplot, so nothing is kept between figures.

Charts are drawn for light pages and for dark ones (`for_both_themes`); galleries have no background.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from training.data.augmentation import augment, resize
from training.data.datasets import Dataset, Pixels
from training.loop.checkpoints import History
from training.recipe import Recipe

if TYPE_CHECKING:
    from training.loop.lr_finder import Found
    from training.network.insight import Activation, Maps

_TRAIN: Final = "#3b87b3"  # legible on light and dark
_VALIDATION: Final = "#e07a1f"
_CAPTION: Final = "#76838f"  # the same


def _theme(ink: str, paper: str, grid: str) -> dict[Any, Any]:  # Matplotlib types each key
    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {**dict.fromkeys(inks, ink), "figure.facecolor": paper, "axes.facecolor": paper, "grid.color": grid}


# By what is put before the suffix of a file.
_THEMES: Final = {
    "": _theme("#1c2833", "#ffffff", "#dddddd"),
    ".dark": _theme("#e6ebef", "#14191e", "#37424c"),
}
_DPI: Final = 100
_MOST_NUMBERS: Final = 30  # classes beyond which a matrix's cells are too small for numbers


def for_both_themes(draw: Callable[[Path], None], path: Path) -> Path:
    """Draw a chart for light pages at a path, and for dark ones beside it.

    Returns:
        The path of the dark one.
    """
    drawn = path
    for suffix, colours in _THEMES.items():
        drawn = path.with_name(f"{path.stem}{suffix}{path.suffix}")
        with matplotlib.rc_context(colours):
            draw(drawn)
    return drawn


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
    """Which class was taken for which; colours by fraction of the true class, numbers are images."""
    count = len(classes)
    side = min(16.0, 2.8 + 0.4 * count)  # inches, so that three digits fit into a cell
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    paper, ink = matplotlib.rcParams["axes.facecolor"], matplotlib.rcParams["text.color"]
    is_dark = sum(to_rgb(paper)) < 1.5
    shades = LinearSegmentedColormap.from_list("share", [paper, _TRAIN, "#bfe2f5" if is_dark else "#0b2f4a"])
    drawn = axes.imshow(shares, cmap=shades, vmin=0.0, vmax=1.0)
    if count <= _MOST_NUMBERS:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            colour = paper if shares[row, column] > 0.5 else ink
            size = 11 if count <= 6 else 8.5
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour, fontsize=size)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    rotation = 90 if max(map(len, classes)) > 3 else 0
    axes.set_xticks(range(count), classes, rotation=rotation, fontsize=9, parse_math=False)
    axes.set_yticks(range(count), classes, fontsize=9, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    plain = title.replace("$", r"\$")  # `parse_math` and `wrap` don't go together
    figure.suptitle(plain, x=0.02, horizontalalignment="left", fontsize=11, wrap=True)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="fraction of the true class")
    figure.savefig(path, dpi=_DPI)


def _plain(axes: Axes) -> None:
    axes.grid(linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def reliability(bins: Sequence[tuple[int, float, float]], error: float, path: Path) -> None:
    """How often scores of each height are right, and how many images have such scores.

    On the diagonal scores mean what they say: of the images with a score of 0.8, four in five are right.
    """
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    counts, scores, right = zip(*bins, strict=True) if bins else ((), (), ())
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--", label="perfectly calibrated")
    axes.plot(scores, right, color=_TRAIN, linewidth=1, marker="o", label="this model")
    axes.set(xlim=(0, 1.04), ylim=(0, 1.04), ylabel="fraction correct")
    axes.set_title(f"Reliability (calibration error {error:.4f})", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    bars = below.bar(scores, counts, width=0.045, color=_TRAIN)
    below.bar_label(bars, [f"{count:,}" for count in counts], fontsize=7, padding=1, rotation=0)
    below.set(yscale="log", ylim=(0.7, 6 * max(counts, default=1)), xlabel="highest score", ylabel="images")
    _plain(axes)
    _plain(below)
    figure.savefig(path, dpi=_DPI)


def in_domain(
    own: npt.NDArray[np.float32], others: Mapping[str, npt.NDArray[np.float32]], bound: float, path: Path
) -> None:
    """How well the model says that it knows its test images and, by kind, images of other things."""
    figure = Figure(figsize=(7, 1.1 + 0.62 * (1 + len(others))), layout="constrained")
    every = {"test images": own, **others}
    for axes, (name, told) in zip(
        figure.subplots(len(every), 1, sharex=True, squeeze=False)[:, 0], every.items(), strict=True
    ):
        colour = _TRAIN if name == "test images" else _VALIDATION
        axes.hist(told, bins=40, range=(0.0, 1.0), color=colour)
        axes.axvline(bound, color=_CAPTION, linewidth=1, linestyle="--")
        axes.set_yticks([])
        share = float((told >= bound).mean()) if len(told) else 0.0
        axes.set_ylabel(f"{name.replace('_', ' ')}\n{share:.1%} known", rotation=0, ha="right", va="center", fontsize=8)
        _plain(axes)
    figure.axes[-1].set_xlabel("in_domain")
    figure.savefig(path, dpi=_DPI)


def gallery(
    images: Pixels, titles: Sequence[str], path: Path, overlays: "Maps | None" = None, columns: int = 6
) -> None:
    """Images with a line of text above each; `overlays` (N, h, w), 0 to 1, are laid over them as heat."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.7 * columns, 1.95 * rows), layout="constrained")
    for index, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
        axes.axis("off")
        if index >= len(images):
            continue
        height, width, channels = images[index].shape
        axes.imshow(images[index].squeeze(), cmap="gray" if channels == 1 else None, vmin=0, vmax=255)
        axes.set_title(titles[index], fontsize=8, color=_CAPTION, parse_math=False)
        if overlays is not None and overlays.shape[1]:
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            axes.imshow(overlays[index], cmap="inferno", alpha=0.45, extent=extent, interpolation="bilinear")
            axes.set(xlim=extent[:2], ylim=extent[2:])
    figure.savefig(path, dpi=_DPI, transparent=True)


def filters(kernels: "Maps", path: Path, columns: int = 16) -> None:
    """The kernels (F, h, w, C) of a first layer; each is scaled on its own."""
    low, high = kernels.min(axis=(1, 2, 3), keepdims=True), kernels.max(axis=(1, 2, 3), keepdims=True)
    scaled = (kernels - low) / np.maximum(high - low, 1e-9)
    rows = -(-len(scaled) // columns)
    figure = Figure(figsize=(0.55 * columns, 0.55 * rows), layout="constrained")
    for index, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
        axes.axis("off")
        if index < len(scaled):
            axes.imshow(scaled[index].squeeze(), cmap="gray")
    figure.savefig(path, dpi=_DPI, transparent=True)


def feature_maps(maps: "Sequence[tuple[str, Maps]]", path: Path) -> None:
    """Activations of some layers for one image: a row for each layer."""
    columns = max(len(layer) for _, layer in maps)
    figure = Figure(figsize=(0.85 * columns, 1.05 * len(maps)), layout="constrained")
    grid = figure.subplots(len(maps), columns, squeeze=False)
    for row, (name, layer) in zip(grid, maps, strict=True):
        for index, axes in enumerate(row):
            axes.axis("off")
            if index < len(layer):
                axes.imshow(layer[index], cmap="viridis")
        row[0].set_title(name, fontsize=8, color=_CAPTION, loc="left")
    figure.savefig(path, dpi=_DPI, transparent=True)


def activations(found: "Sequence[Activation]", path: Path, columns: int = 4) -> None:
    """Histograms of the layers' outputs; those with a warning are drawn in orange."""
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(2.5 * columns, 1.5 * rows), layout="constrained")
    for index, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
        if index >= len(found):
            axes.axis("off")
            continue
        layer = found[index]
        axes.stairs(layer.counts, layer.edges, fill=True, color=_VALIDATION if layer.warning else _TRAIN)
        axes.set_title(f"{layer.layer} (sd {layer.deviation:.2g})", fontsize=8, loc="left")
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
    figure.savefig(path, dpi=_DPI)


def learning_rates(found: "Found", path: Path) -> None:
    """The loss over rising learning rates, and the rate that the finder suggests."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color=_TRAIN)
    axes.axvline(found.suggested, color=_VALIDATION, label=f"suggested: {found.suggested:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss (smoothed)")
    axes.legend(frameon=False)
    _plain(axes)
    figure.savefig(path, dpi=_DPI)


def contact_sheet(train: Dataset, recipe: Recipe, seed: int, path: Path) -> None:
    """Six training images, each as it is and then in five of the forms that augmentation gives it."""
    rng = np.random.default_rng(seed)
    shown: list[Pixels] = []
    titles: list[str] = []
    for position in rng.permutation(len(train))[:6]:
        at = np.array([position])
        label = train.classes[int(train.targets(at)[0])]
        variants = [resize(train.images(at), recipe.size)]
        variants += [augment(train.images(at), recipe.size, recipe.augmentation, rng) for _ in range(5)]
        shown += [variant[0] for variant in variants]
        titles += [label, *[""] * 5]
    gallery(np.stack(shown), titles, path)
