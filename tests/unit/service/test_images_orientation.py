"""The decoder turns images upright as their EXIF data say."""

import io
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from service import images

CORNERS: Final = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))  # top left, top right, bottom left, right

# How a camera that is held so stores an upright scene: the inverse of what the tag asks to be done.
STORED: Final = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def scene(width: int, height: int) -> Image.Image:
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = CORNERS[0], CORNERS[1]
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = CORNERS[2], CORNERS[3]
    return Image.fromarray(pixels)


def stored(kind: str, orientation: int, size: tuple[int, int]) -> bytes:
    picture = scene(*size)
    turn = STORED[orientation]
    picture = picture if turn is None else picture.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    picture.save(buffer, kind, exif=exif, **options)
    return buffer.getvalue()


def corners(pixels: images.Pixels) -> list[list[int]]:
    return [pixels[y, x].tolist() for y in (2, -3) for x in (2, -3)]


@pytest.mark.parametrize("size", [(48, 32), (400, 160)], ids=["small", "large-enough-for-a-draft"])
@pytest.mark.parametrize("target", [(12, 20), (20, 12)], ids=["wide", "tall"])
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_turned_image_comes_out_upright(
    kind: str, orientation: int, target: tuple[int, int], size: tuple[int, int]
) -> None:
    pixels = images.decode(stored(kind, orientation, size), *target, 3)
    assert pixels.shape == (*target, 3)
    for found, expected in zip(corners(pixels), CORNERS, strict=True):
        assert found == pytest.approx(list(expected), abs=30)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_compressed_tiff_comes_out_upright(orientation: int, compression: str) -> None:
    turn = STORED[orientation]
    picture = scene(48, 32) if turn is None else scene(48, 32).transpose(turn)
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF", compression=compression, tiffinfo={0x0112: orientation})
    found = corners(images.decode(buffer.getvalue(), 12, 20, 3))
    assert found == [list(corner) for corner in CORNERS]


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_an_orientation_that_means_nothing_is_no_turn(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    scene(48, 32).save(buffer, "PNG", exif=exif)
    assert corners(images.decode(buffer.getvalue(), 32, 48, 3)) == [list(corner) for corner in CORNERS]


# Pillow warns of metadata that it can't read; the service silences that (service/process/worker.py).
@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\x00\x00",
        b"Exif\x00\x00garbage that is no TIFF header",
        b"Exif\x00\x00MM\x00*\xff\xff\xff\xff",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff\x12\x01\x03\x00\x01",
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x02\x00\x00\x00\x04abc\x00\x00\x00\x00\x00",
    ],
    ids=["empty", "header-only", "garbage", "offset-beyond-the-end", "cut-off", "orientation-is-text"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_metadata_cost_nobody_a_readable_image(kind: str, exif: bytes) -> None:
    buffer = io.BytesIO()
    scene(48, 32).save(buffer, kind, exif=exif)
    found = corners(images.decode(buffer.getvalue(), 32, 48, 3))
    for corner, expected in zip(found, CORNERS, strict=True):
        assert corner == pytest.approx(list(expected), abs=40)
