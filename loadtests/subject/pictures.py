"""Synthetic images with as many bytes as real ones have, so that no photograph need lie in the repository.

Smooth shapes with some grain, as a camera gives them: a photograph of 500x375 has about 30 KB as a JPEG, like those of
common data sets. What an image shows does not change how long it takes.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

PHOTOGRAPH = (500, 375)
_SMALL = 64  # a model whose input is at most this wide and high was made for drawn or scanned images, not photographs


def photographs(count: int, width: int = PHOTOGRAPH[0], height: int = PHOTOGRAPH[1]) -> list[bytes]:
    """Different JPEGs in colour."""
    return [_encoded(_pixels(seed, height, width, 3, 4.0), "JPEG", quality=80) for seed in range(count)]


def drawings(count: int, width: int = 28, height: int = 28, channels: int = 1) -> list[bytes]:
    """Different PNGs, grey for one channel and in colour for three."""
    return [_encoded(_pixels(seed, height, width, channels, 3.0), "PNG") for seed in range(count)]


def for_model(count: int, width: int, height: int, channels: int) -> tuple[str, list[bytes]]:
    """What people would send to a model with this input: its own size as PNGs if that is small, else photographs.

    Returns:
        The content type, and `count` different images.
    """
    if max(width, height) <= _SMALL:
        return "image/png", drawings(count, width, height, channels)
    return "image/jpeg", photographs(count)


def _pixels(seed: int, height: int, width: int, channels: int, grain: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pixels (height, width, channels)."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (max(2, height // 12), max(2, width // 12), channels), dtype=np.uint8)
    planes = [
        np.asarray(Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC))
        for c in range(channels)
    ]
    noise = random.normal(0.0, grain, (height, width, 1))
    return (np.stack(planes, axis=-1) + noise).clip(0, 255).astype(np.uint8)


def _encoded(pixels: np.ndarray[Any, np.dtype[np.uint8]], kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(file, kind, **options)
    return file.getvalue()
