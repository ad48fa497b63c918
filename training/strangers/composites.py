"""Hands before other backgrounds: what stands before a plain one is cut out and pasted onto photographs.

A network that has seen a hand before a green screen alone learns the green. Cut out and pasted anywhere, small, large
or half out of the picture, the hand is all that the images of a class share.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from training.data.datasets import Dataset, Pixels, Rows, dataset

Mask = npt.NDArray[np.bool_]

_BORDER_SHARE: Final = 0.6  # of the border that has to be plain
_LEAST: Final = 0.03  # share of the image that what is cut out must cover
_MOST: Final = 0.85
_SCALES: Final = (0.45, 1.15)  # of what is pasted, against the whole image
_OUTSIDE: Final = 0.2  # share of it that may lie outside of the image
_LIGHT: Final = (0.6, 1.3)


def cut_out(pixels: Pixels) -> Mask | None:
    """What stands before a plain background that is green, white or black.

    Args:
        pixels: uint8 (H, W, 3).

    Returns:
        True where the background is not; None where there is no plain background, or hardly anything before it.
    """
    red, green, blue = (pixels[..., channel].astype(np.int16) for channel in range(3))
    highest, lowest = pixels.max(axis=-1), pixels.min(axis=-1)
    for plain in (
        green - np.maximum(red, blue) > 24,
        (lowest > 205) & (highest - lowest < 18),
        highest < 14,
    ):
        border = np.concatenate([plain[0], plain[:, 0], plain[:, -1]])  # the arm comes in from below
        share = 1.0 - float(plain.mean())
        if float(border.mean()) >= _BORDER_SHARE and _LEAST <= share <= _MOST:
            mask: Mask = ~plain
            return mask
    return None


def composites(data: Dataset, backgrounds: Pixels, count: int, seed: int) -> Dataset:
    """Paste what can be cut out of images onto backgrounds.

    Args:
        data: uint8 (N, H, W, 3) images; those without a plain background are passed over.
        backgrounds: uint8 (M, h, w, 3) photographs of other things.
        count: how many images to make; fewer where fewer images can be cut out.
        seed: the same seed makes the same images.

    Returns:
        At most `count` images of the shape and the classes of `data`, each of the kin of the image that it was made of.
    """
    rng = np.random.default_rng(seed)
    made: list[Pixels] = []
    of: list[int] = []
    for at in rng.permutation(len(data)):
        if len(made) == count:
            break
        pixels = data.images(np.array([at]))[0]
        mask = cut_out(pixels)
        if mask is not None:
            made.append(_paste(pixels, mask, backgrounds[rng.integers(len(backgrounds))], rng))
            of.append(int(at))
    rows: Rows = data.rows[np.array(of, dtype=np.int64)]
    stacked = np.stack(made) if made else np.zeros((0, *data.shape), dtype=np.uint8)
    names = [f"{data.name(at)} on another background" for at in of]
    return dataset(stacked, data.labels[rows], data.classes, names, [data.kin[row] for row in rows] if data.kin else [])


def _paste(pixels: Pixels, mask: Mask, background: Pixels, rng: np.random.Generator) -> Pixels:
    height, width = mask.shape
    canvas = Image.fromarray(background).resize((width, height), Image.Resampling.BILINEAR)
    lit = np.clip(pixels * rng.uniform(*_LIGHT), 0, 255).astype(np.uint8)
    # The rim has some of the old background in it.
    alpha = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.MinFilter(3))
    alpha = alpha.filter(ImageFilter.GaussianBlur(1))
    ys, xs = np.nonzero(mask)
    box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
    scale = rng.uniform(*_SCALES) * min(width, height) / max(box[2] - box[0], box[3] - box[1])
    size = (max(8, round((box[2] - box[0]) * scale)), max(8, round((box[3] - box[1]) * scale)))
    piece = Image.fromarray(lit).crop(box).resize(size, Image.Resampling.BILINEAR)
    alpha = alpha.crop(box).resize(size, Image.Resampling.BILINEAR)
    angle = float(rng.uniform(-30, 30))
    piece, alpha = (each.rotate(angle, Image.Resampling.BILINEAR) for each in (piece, alpha))
    canvas.paste(piece, (_place(size[0], width, rng), _place(size[1], height, rng)), alpha)
    return np.asarray(canvas)


def _place(part: int, whole: int, rng: np.random.Generator) -> int:
    """Where a part begins along a side; some of it may lie outside at either end."""
    ends = (-round(_OUTSIDE * part), whole - round((1 - _OUTSIDE) * part))
    return int(rng.integers(min(ends), max(ends), endpoint=True))
