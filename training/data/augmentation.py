"""Augmentation: the same thing seen a little differently, for every image again in every epoch.

Everything geometric is one Pillow call per image (in C, without the interpreter lock): crop and zoom are a resize of
a box, rotation and shear one affine transform. Colour is one matrix. All of it is drawn from the generator that is
passed in, so the same seed gives the same pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.data.datasets import Pixels

Targets = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be changed; zero everywhere changes nothing.

    Attributes:
        flip: mirror every other image left to right; never where left and right differ in meaning, as with letters.
        rotation: up to this angle either way, in degrees.
        zoom: in or out by up to this share of the size.
        shift: by up to this share of the size, each way.
        shear: up to this angle, in degrees.
        crop: smallest share of the area that a random crop keeps; 1 keeps all.
        ratio: a crop's width to height is between 1/ratio and ratio.
        brightness: up to this share darker or brighter.
        contrast: up to this share weaker or stronger.
        saturation: up to this share paler or more colourful.
        tint: each colour channel scaled by up to this share.
        grey: share of the images that lose their colour.
        cutout: side of the square that is blanked in each image, as a share of the image's side.
        mixup: strength (the beta distribution's parameter) of blending two images of a batch.
        cutmix: strength of pasting a part of one image onto another.
    """

    flip: bool = False
    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    crop: float = 1.0
    ratio: float = 4 / 3
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    tint: float = 0.0
    grey: float = 0.0
    cutout: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


def augment(images: Pixels, size: tuple[int, int], how: Augmentation, rng: np.random.Generator) -> Pixels:
    """Change each image of a batch at random and bring it to a size.

    Args:
        images: uint8 (N, H, W, C).
        size: height and width wanted, in pixels.
        how: the bounds of the changes.
        rng: what decides.

    Returns:
        uint8 (N, *size, C).
    """
    out = np.empty((len(images), *size, images.shape[3]), dtype=np.uint8)
    for index, pixels in enumerate(images):
        out[index] = _augment_one(pixels, size, how, rng)
    return out


def resize(images: Pixels, size: tuple[int, int]) -> Pixels:
    """Bring the images of a batch to a size without any other change: uint8 (N, *size, C)."""
    return images if images.shape[1:3] == size else augment(images, size, Augmentation(), np.random.default_rng(0))


def mix(images: Pixels, targets: Targets, how: Augmentation, rng: np.random.Generator) -> tuple[Pixels, Targets]:
    """Blend or paste each image of a batch with another one, and their targets with them.

    Args:
        images: uint8 (N, H, W, C).
        targets: float32 (N, K), each row a distribution over the classes.
        how: `mixup` and `cutmix`; with both, a coin decides for each batch.
        rng: what decides.

    Returns:
        Images and targets of the same shapes.
    """
    paste = how.cutmix > 0.0 and (how.mixup == 0.0 or rng.random() < 0.5)
    strength = how.cutmix if paste else how.mixup
    if strength == 0.0:
        return images, targets
    share = float(rng.beta(strength, strength))
    # The batch is in random order, so its reverse is as good a partner as any shuffle.
    if paste:
        height, width = images.shape[1:3]
        rows, columns = (round(side * math.sqrt(1.0 - share)) for side in (height, width))
        top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
        box = (slice(None), slice(top, top + rows), slice(left, left + columns))
        mixed = images.copy()
        mixed[box] = images[::-1][box]
        share = 1.0 - rows * columns / (height * width)
    else:
        weight = np.uint16(round(share * 256))  # 8-bit fixed point: exact enough for 8-bit pixels, and fast
        share = int(weight) / 256
        blended = images.astype(np.uint16) * weight + images[::-1].astype(np.uint16) * np.uint16(256 - weight)
        mixed = (blended >> 8).astype(np.uint8)
    return mixed, (targets * share + targets[::-1] * (1.0 - share)).astype(np.float32)


def _augment_one(pixels: Pixels, size: tuple[int, int], how: Augmentation, rng: np.random.Generator) -> Pixels:
    height, width, channels = pixels.shape
    rows, columns = size
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    box = (0.0, 0.0, float(width), float(height))
    if how.crop < 1.0:
        box = _random_box(width, height, how, rng)
    if box != (0.0, 0.0, width, height) or (width, height) != (columns, rows):
        image = image.resize((columns, rows), Image.Resampling.BILINEAR, box=box)
    if how.rotation or how.zoom or how.shift or how.shear:
        image = _affine(image, how, rng)
    if how.flip and rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if how.brightness or how.contrast or how.saturation or how.tint or how.grey:
        image = _colour(image, how, rng)
    out = np.asarray(image).reshape(rows, columns, channels)
    if how.cutout:
        side_y, side_x = round(rows * how.cutout), round(columns * how.cutout)
        top, left = int(rng.integers(1 - side_y, rows)), int(rng.integers(1 - side_x, columns))
        out = out.copy()
        out[max(top, 0) : top + side_y, max(left, 0) : left + side_x] = int(rng.integers(0, 256))
    return out


def _random_box(
    width: int, height: int, how: Augmentation, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A crop of random area and shape, left, upper, right and lower, in pixels."""
    area = rng.uniform(how.crop, 1.0)
    ratio = math.exp(rng.uniform(-math.log(how.ratio), math.log(how.ratio)))
    columns = min(1.0, math.sqrt(area * ratio)) * width
    rows = min(1.0, math.sqrt(area / ratio)) * height
    left, top = rng.uniform(0.0, width - columns), rng.uniform(0.0, height - rows)
    return left, top, left + columns, top + rows


def _affine(image: Image.Image, how: Augmentation, rng: np.random.Generator) -> Image.Image:
    """Rotate, shear, zoom and shift about the centre; what comes in from outside repeats the edge's mean."""
    width, height = image.size
    angle, shear = np.radians(rng.uniform(-1, 1) * how.rotation), np.radians(rng.uniform(-1, 1) * how.shear)
    scale_x, scale_y = 1.0 + rng.uniform(-1, 1, size=2) * how.zoom
    shift_x, shift_y = rng.uniform(-1, 1, size=2) * how.shift * (width, height)
    cos, sin = math.cos(angle), math.sin(angle)
    # Pillow wants the inverse: for each pixel of the result, where in the source it comes from.
    a, b = cos * scale_x, (sin + math.tan(shear)) * scale_y
    d, e = -sin * scale_x, cos * scale_y
    x, y = (width - 1) / 2, (height - 1) / 2
    matrix = (a, b, x - a * x - b * y + shift_x, d, e, y - d * x - e * y + shift_y)
    edge = _edge_mean(image)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=edge)


def _edge_mean(image: Image.Image) -> int | tuple[int, ...]:
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if border.ndim == 1:
        return int(border.mean())
    return tuple(int(value) for value in border.mean(axis=0))


def _colour(image: Image.Image, how: Augmentation, rng: np.random.Generator) -> Image.Image:
    brightness, contrast, saturation = 1.0 + rng.uniform(-1, 1, size=3) * (how.brightness, how.contrast, how.saturation)
    if image.mode == "L":
        gain, offset = brightness * contrast, 128.0 * (1.0 - contrast)
        return Image.fromarray((np.asarray(image) * gain + offset).clip(0, 255).astype(np.uint8))
    if rng.random() < how.grey:
        saturation = 0.0
    luma = np.array([0.299, 0.587, 0.114])
    tint = 1.0 + rng.uniform(-1, 1, size=3) * how.tint
    mixing = (saturation * np.eye(3) + (1.0 - saturation) * luma[None, :]) * tint[:, None] * brightness * contrast
    matrix = np.concatenate([mixing, np.full((3, 1), 128.0 * (1.0 - contrast))], axis=1)
    return image.convert("RGB", tuple(matrix.ravel().tolist()))
