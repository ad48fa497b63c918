"""Images that are of nothing a classifier knows, drawn from a seed: noise, blanks, text and drawings."""

import string
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.datasets import Dataset, Pixels, dataset

Generator = np.random.Generator

_SIDE: Final = 96  # of what is drawn, in pixels, before it is brought to a size
_LETTERS: Final = string.ascii_letters + string.digits + "      .,;:"


def noise(rng: Generator) -> Image.Image:
    """Noise, fine or coarse, grey or coloured, all over the range or about a middle."""
    side = int(rng.choice([_SIDE, _SIDE // 2, _SIDE // 5, _SIDE // 16]))
    channels = 1 if rng.random() < 0.3 else 3
    if rng.random() < 0.5:
        values = rng.uniform(0, 255, (side, side, channels))
    else:
        values = rng.normal(rng.uniform(40, 215), rng.uniform(10, 80), (side, side, channels))
    pixels = np.broadcast_to(np.clip(values, 0, 255).astype(np.uint8), (side, side, 3))
    way = Image.Resampling.NEAREST if rng.random() < 0.5 else Image.Resampling.BICUBIC
    return Image.fromarray(np.ascontiguousarray(pixels)).resize((_SIDE, _SIDE), way)


def blank(rng: Generator) -> Image.Image:
    """One colour, or one that passes into another; sometimes with the grain of a camera."""
    first, second = (_colour(rng) for _ in range(2))
    if rng.random() < 0.4:  # black, white and what lies between are what cameras send when they are covered
        first, second = ((int(grey),) * 3 for grey in rng.choice([0, 255, *rng.integers(0, 256, 2)], 2))
    if rng.random() < 0.5:
        second = first
    steps = np.linspace(0.0, 1.0, _SIDE)[:, None, None]
    if rng.random() < 0.5:
        steps = steps.transpose(1, 0, 2)
    values = np.broadcast_to(np.array(first) * (1 - steps) + np.array(second) * steps, (_SIDE, _SIDE, 3))
    if rng.random() < 0.5:
        values = values + rng.normal(0, rng.uniform(1, 6), (_SIDE, _SIDE, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def text(rng: Generator) -> Image.Image:
    """A page of letters, dark on light or the other way round."""
    paper, ink = _paper(rng)
    image = Image.new("RGB", (_SIDE, _SIDE), paper)
    pen = ImageDraw.Draw(image)
    size = int(rng.integers(6, 22))
    font = ImageFont.load_default(size)
    left, top = int(rng.integers(0, 12)), int(rng.integers(0, 12))
    for y in range(top, _SIDE, size + int(rng.integers(1, 8))):
        line = "".join(rng.choice(list(_LETTERS), int(rng.integers(1, 2 + 160 // size))))
        pen.text((left, y), line, fill=ink, font=font)
    return image


def drawing(rng: Generator) -> Image.Image:
    """Lines, boxes, ovals and curves, few or many, as sketches, charts and logos have them."""
    paper, ink = _paper(rng)
    image = Image.new("RGB", (_SIDE, _SIDE), paper)
    pen = ImageDraw.Draw(image)
    coloured = rng.random() < 0.5
    for _ in range(int(rng.integers(1, 14))):
        colour = _colour(rng) if coloured else ink
        x, y, a, b = (int(value) for value in rng.integers(-10, _SIDE + 10, 4))
        box, width = (min(x, a), min(y, b), max(x, a) + 1, max(y, b) + 1), int(rng.integers(1, 5))
        fill = colour if rng.random() < 0.4 else None
        match int(rng.integers(5)):
            case 0:
                pen.rectangle(box, fill, colour, width)
            case 1:
                pen.ellipse(box, fill, colour, width)
            case 2:
                pen.arc(box, float(rng.uniform(0, 360)), float(rng.uniform(0, 360)), colour, width)
            case 3:
                corners = [tuple(point) for point in rng.integers(0, _SIDE, (int(rng.integers(3, 7)), 2)).tolist()]
                pen.polygon(corners, fill, colour)
            case _:
                pen.line((x, y, a, b), colour, width)
    return image


KINDS: Final[Mapping[str, Callable[[Generator], Image.Image]]] = {
    "noise": noise,
    "blank": blank,
    "text": text,
    "drawings": drawing,
}


def draw_strangers(count: int, size: tuple[int, int], channels: int, seed: int) -> Dataset:
    """Draw images of each kind.

    Args:
        count: how many of each.
        size: height and width, in pixels.
        channels: 3 (RGB) or 1 (L).
        seed: the same seed draws the same images.

    Returns:
        uint8 (4 * count, *size, channels) images; the classes are the kinds.
    """
    rng = np.random.default_rng(seed)
    drawn = [draw(rng) for draw in KINDS.values() for _ in range(count)]
    pixels = np.stack([_brought(image, size, channels) for image in drawn])
    return dataset(pixels, np.repeat(np.arange(len(KINDS), dtype=np.int32), count), list(KINDS))


def _brought(image: Image.Image, size: tuple[int, int], channels: int) -> Pixels:
    small: Any = image.resize(size[::-1], Image.Resampling.BILINEAR).convert("L" if channels == 1 else "RGB")
    return np.asarray(small, dtype=np.uint8).reshape(*size, channels)


def _colour(rng: Generator) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def _paper(rng: Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    light, dark = int(rng.integers(190, 256)), int(rng.integers(0, 80))
    pair = ((light, light, light), (dark, dark, dark))
    return pair if rng.random() < 0.75 else pair[::-1]
