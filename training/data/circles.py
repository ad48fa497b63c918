"""Counting circles: images that are drawn, not downloaded, and that anyone can learn from in a minute.

Each image holds some filled circles of varying size that do not touch; its class is their number.
"""

from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from training.data.datasets import Dataset, dataset
from training.errors import TrainingError

_ATTEMPTS: Final = 200
_GAP: Final = 2  # pixels between two circles, so that they never look like one


def draw(count: int, side: int, radii: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Draw `count` circles on a canvas.

    Args:
        count: how many circles.
        side: height and width of the image, in pixels.
        radii: smallest and largest radius, in pixels.
        rng: where the circles lie, and how large and how bright they are.

    Returns:
        An image of mode L.

    Raises:
        TrainingError: so many circles of that size do not fit.
    """
    for _ in range(_ATTEMPTS):
        circles = _place(count, side, radii, rng)
        if circles is not None:
            break
    else:
        raise TrainingError(f"{count} circles of radius {radii[0]} and more do not fit on {side}x{side} pixels.")
    background = int(rng.integers(0, 100))
    image = Image.new("L", (side, side), background)
    pen = ImageDraw.Draw(image)
    for x, y, radius in circles:
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(rng.integers(background + 80, 256)))
    return image


def _place(
    count: int, side: int, radii: tuple[int, int], rng: np.random.Generator
) -> list[tuple[int, int, int]] | None:
    """Centres and radii, one circle after the other; None when there is no room for the next."""
    circles: list[tuple[int, int, int]] = []
    for _ in range(count):
        for _ in range(_ATTEMPTS):
            radius = int(rng.integers(radii[0], radii[1] + 1))
            x, y = (int(value) for value in rng.integers(radius + 1, side - radius - 1, size=2))
            if all((x - a) ** 2 + (y - b) ** 2 > (radius + r + _GAP) ** 2 for a, b, r in circles):
                circles.append((x, y, radius))
                break
        else:
            return None
    return circles


def draw_dataset(
    samples: int, seed: int, side: int = 32, counts: range = range(1, 6), radii: tuple[int, int] = (2, 6)
) -> Dataset:
    """Draw a data set with equally many images of each number.

    Args:
        samples: how many images.
        seed: the same seed draws the same images.
        side: height and width of an image, in pixels.
        counts: the numbers of circles, one class each.
        radii: smallest and largest radius, in pixels.

    Returns:
        uint8 (samples, side, side, 1) images; the class names are the numbers.

    Raises:
        TrainingError: `samples` is less than the number of classes, or the circles do not fit.
    """
    if samples < len(counts):
        raise TrainingError(f"{samples} samples are too few; draw at least one for each of the {len(counts)} classes.")
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(samples, dtype=np.int32) % len(counts))
    pixels = np.stack([np.asarray(draw(counts[label], side, radii, rng)) for label in labels])[..., None]
    return dataset(pixels, labels, [str(count) for count in counts])
