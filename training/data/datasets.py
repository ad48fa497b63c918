"""Labelled pixels, whole or in part.

A `Dataset` is a view: rows of an array that may be a memory map, so that a split or a test set copies nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from training.errors import TrainingError

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images of one size with their labels.

    Attributes:
        pixels: uint8 (M, H, W, C), in memory or memory-mapped.
        labels: int32 (M,), each an index into `classes`.
        classes: the name of each class.
        rows: int64 (N,), which of the M images belong to this view, in order.
        names: the name of each of the M images in its source, or empty.
        kin: for each of the M images what it belongs with (frames of one clip, say), or empty; a split keeps those
            together.
        soft: for each of the M images the distribution over the classes to learn instead of its label, float32 (M, K),
            or None.
    """

    pixels: Pixels
    labels: Labels
    classes: tuple[str, ...]
    rows: Rows
    names: tuple[str, ...] = ()
    kin: tuple[str, ...] = ()
    soft: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """The number of images in this view."""
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.pixels.shape[1:]
        return height, width, channels

    def images(self, at: Rows | slice = slice(None)) -> Pixels:
        """The images at these positions of the view: uint8 (n, H, W, C)."""
        return self.pixels[self.rows[at]]

    def targets(self, at: Rows | slice = slice(None)) -> Labels:
        """The labels at these positions of the view: int32 (n,)."""
        return self.labels[self.rows[at]]

    def distributions(self, at: Rows, smoothing: float) -> npt.NDArray[np.float32]:
        """What to learn of the images at these positions: float32 (n, K), with a share spread over all classes."""
        count = len(self.classes)
        wanted = np.eye(count, dtype=np.float32)[self.targets(at)] if self.soft is None else self.soft[self.rows[at]]
        return np.asarray(wanted * (1.0 - smoothing) + smoothing / count, dtype=np.float32)

    def name(self, position: int) -> str:
        """The name of one image, for people."""
        row = int(self.rows[position])
        return self.names[row] if self.names else f"image {row}"

    def subset(self, positions: Rows) -> "Dataset":
        """The images at these positions, as a view of the same pixels."""
        return replace(self, rows=self.rows[positions])

    def counts(self) -> dict[str, int]:
        """How many images each class has."""
        found = np.bincount(self.targets(), minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, found, strict=True)}

    def digests(self) -> list[bytes]:
        """A hash of each image's pixels; equal images have equal ones."""
        return [hashlib.blake2b(self.pixels[row].tobytes(), digest_size=16).digest() for row in self.rows]

    def fingerprint(self) -> str:
        """A hash over all pixels and labels, in order: which data this was, without the data."""
        total = hashlib.blake2b(digest_size=16)
        for digest in self.digests():
            total.update(digest)
        total.update(np.ascontiguousarray(self.targets(), dtype="<i4").tobytes())
        return total.hexdigest()


def dataset(
    pixels: Pixels, labels: Labels, classes: Sequence[str], names: Sequence[str] = (), kin: Sequence[str] = ()
) -> Dataset:
    """The view of all images.

    Raises:
        TrainingError: the arrays do not fit each other, or a label is out of range.
    """
    if pixels.ndim != 4 or len(pixels) != len(labels):
        raise TrainingError(f"{len(labels)} labels do not fit pixels of shape {pixels.shape}; expected (N, H, W, C).")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(classes)):
        wrong = labels.max() if labels.max() >= len(classes) else labels.min()
        raise TrainingError(
            f"The label {wrong} is out of range; there are {len(classes)} classes, 0 to {len(classes) - 1}."
        )
    return Dataset(pixels, labels.astype(np.int32), tuple(classes), np.arange(len(labels)), tuple(names), tuple(kin))


@dataclass(frozen=True)
class Data:
    """What a training run learns from and what it is judged on.

    Attributes:
        train: images to learn from, the validation images still among them.
        test: images that are looked at once, at the end.
        groups: positions in `test` of named parts of it that are reported apart.
        facts: what the reading of the sources found, for the model card (files skipped, duplicates, ...).
        validation: images that the recipe sets aside itself (of other people, say); None to split some off `train`.
    """

    train: Dataset
    test: Dataset
    groups: Mapping[str, Rows] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    validation: Dataset | None = None


def joined(*parts: Dataset) -> Dataset:
    """Several data sets of one shape and the same classes as one, in memory.

    Raises:
        TrainingError: they differ in shape or classes.
    """
    first = parts[0]
    if any((part.shape, part.classes) != (first.shape, first.classes) for part in parts):
        raise TrainingError("Data sets of different shapes or classes can't be joined.")
    return dataset(
        np.concatenate([part.images() for part in parts]),
        np.concatenate([part.targets() for part in parts]),
        first.classes,
        [part.name(at) for part in parts for at in range(len(part))],
        [part.kin[row] if part.kin else part.name(at) for part in parts for at, row in enumerate(part.rows)],
    )


def split(data: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split off a part, class by class, with exact duplicates, and what is of one kin, all on one side.

    Args:
        data: what to split.
        fraction: share of the second part, 0 to 1.
        seed: which of the possible splits.

    Returns:
        The larger first part, and the second with about `fraction` of each class.

    Raises:
        TrainingError: no image would be left in one of the parts.
    """
    if fraction == 0.0:
        return data, data.subset(np.arange(0))
    members = _together(data)
    order = np.random.default_rng(seed).permutation(len(members))
    targets = data.targets()
    wanted = {label: fraction * count for label, count in enumerate(np.bincount(targets, minlength=len(data.classes)))}
    second: list[int] = []
    for index in order:
        label = int(targets[members[index][0]])
        if wanted[label] >= len(members[index]):
            wanted[label] -= len(members[index])
            second.extend(members[index])
    mask = np.zeros(len(data), dtype=bool)
    mask[second] = True
    if mask.all() or not mask.any():
        raise TrainingError(f"{len(data)} images are too few to set {fraction:.0%} aside for validation.")
    return data.subset(np.flatnonzero(~mask)), data.subset(np.flatnonzero(mask))


def _together(data: Dataset) -> list[list[int]]:
    """The positions in groups that must not be split."""
    leader = list(range(len(data)))  # a union-find forest: each position points towards its group's first

    def first(position: int) -> int:
        while leader[position] != position:
            leader[position] = position = leader[leader[position]]
        return position

    seen: dict[bytes | str, int] = {}
    kin = [data.kin[row] for row in data.rows] if data.kin else []
    for marks in (data.digests(), kin):
        for position, mark in enumerate(marks):
            leader[first(position)] = first(seen.setdefault(mark, position))
    groups: dict[int, list[int]] = {}
    for position in range(len(data)):
        groups.setdefault(first(position), []).append(position)
    return list(groups.values())


def without_copies(data: Dataset, other: Dataset) -> tuple[Dataset, int]:
    """Leave out the images whose pixels also occur in `other`.

    Returns:
        The rest, and how many were left out.
    """
    seen = set(other.digests())
    keep = np.array([digest not in seen for digest in data.digests()], dtype=bool)
    return data.subset(np.flatnonzero(keep)), int((~keep).sum())
