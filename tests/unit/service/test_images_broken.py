"""The decoder on what can't or must not be decoded: always one of two errors, with a message that helps."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from service import images
from service.errors import InvalidImage, InvalidRequest, TooLarge
from service.images import ImageLimits

# Pillow warns of oddities in broken files; the service silences that (service/process/worker.py).
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")


def encoded(kind: str, size: tuple[int, int] = (60, 40), mode: str = "RGB", **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises any size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def gif_header(width: int, height: int) -> bytes:
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame


def icon_of(png: bytes) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(png), 22) + png


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused_wherever_it_ends(kind: str, part: float) -> None:
    whole = encoded(kind)
    with pytest.raises(InvalidImage):
        images.decode(whole[: int(len(whole) * part)], 40, 60, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_message_tells_that_a_file_is_truncated(kind: str) -> None:
    whole = encoded(kind)
    with pytest.raises(InvalidImage, match=r"can't be decoded: .*truncated"):
        images.decode(whole[: len(whole) // 2], 40, 60, 3)


def test_zero_bytes_are_called_empty() -> None:
    with pytest.raises(InvalidImage, match=r"empty \(0 bytes\); send"):
        images.decode(b"", 4, 4, 3)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"This is a note that somebody named cat.jpg.\n", "it is text"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "it is an HTML page"),
        (b"\n\n  <HTML><body>404</body></HTML>", "it is an HTML page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "it is XML or SVG"),
        (b'<?xml version="1.0"?><svg/>', "it is XML or SVG"),
        (b"/9j/4AAQSkZJRgABAQEASABIAAD/", "it is base64"),
        (b"iVBORw0KGgoAAAANSUhEUgAA", "it is base64"),
        (b"data:image/png;base64,iVBORw0KGgo=", "it is base64 or a data: URL"),
        (b'{"instances": [1]}', "it is JSON, which needs the Content-Type application/json"),
        (b"%PDF-1.7\n\xe2\xe3\xcf\xd3", "no known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is text"),
        (b"PK\x03\x04" + bytes(40), "no known format"),
        (b"\xff\xd8\xff\xe0", "its header is corrupt or truncated"),
        (b"\x89PNG\r\n\x1a\n", "its header is corrupt or truncated"),
        (bytes(1000), "no known format"),
        (b"\xff", "no known format"),
    ],
)
def test_a_foreign_file_is_called_what_it_is(data: bytes, found: str) -> None:
    with pytest.raises(InvalidImage, match=rf"This is not an image: .*{found}.* \({len(data)} bytes\); send a JPEG"):
        images.decode(data, 4, 4, 3)


def test_formats_that_start_other_programs_are_not_taken() -> None:
    with pytest.raises(InvalidImage, match=r"not an image"):
        images.decode(encoded("EPS"), 4, 4, 3)


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    image = encoded("PNG")
    with pytest.raises(TooLarge, match=rf"{len(image)} bytes; at most {len(image) - 1}"):
        images.decode(image, 4, 4, 3, ImageLimits(max_bytes=len(image) - 1))
    assert images.decode(image, 4, 4, 3, ImageLimits(max_bytes=len(image))).shape == (4, 4, 3)


def test_too_many_pixels_are_refused_by_the_header() -> None:
    with pytest.raises(TooLarge, match=r"60x40 pixels; at most 2399"):
        images.decode(encoded("PNG"), 4, 4, 3, ImageLimits(max_pixels=2399))
    assert images.decode(encoded("PNG"), 4, 4, 3, ImageLimits(max_pixels=2400)).shape == (4, 4, 3)


@pytest.mark.parametrize("size", [(8000, 8000), (10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_without_being_decoded(size: tuple[int, int]) -> None:
    """Within Pillow's own limits, where Pillow warns, where it refuses, and beyond all sense."""
    image = png_header(*size)
    assert len(image) < 100
    with pytest.raises(TooLarge, match=r"pixels"):
        images.decode(image, 4, 4, 3)


@pytest.mark.parametrize(
    "image",
    [icon_of(png_header(9000, 9000)), gif_header(9000, 9000), gif_header(60_000, 60_000)],
    ids=["icon-with-a-larger-picture-than-it-says", "gif-with-a-larger-frame", "gif-with-a-huge-frame"],
)
def test_a_bomb_whose_header_lies_is_refused(image: bytes) -> None:
    with pytest.raises(InvalidRequest):
        images.decode(image, 4, 4, 3)


def test_a_header_without_pixels_is_broken() -> None:
    with pytest.raises(InvalidImage):
        images.decode(png_header(0, 0), 4, 4, 3)
    with pytest.raises(InvalidImage):
        images.decode(png_header(100, 100), 4, 4, 3)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_a_model_of_other_channels_takes_no_images(channels: int) -> None:
    with pytest.raises(InvalidImage, match=f"takes {channels} channels"):
        images.decode(encoded("PNG"), 4, 4, channels)


def test_memory_that_is_not_there_is_the_images_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(images, "_decode", full)
    with pytest.raises(TooLarge, match=r"memory"):
        images.decode(encoded("PNG"), 4, 4, 3)


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LIMITS = ImageLimits(max_pixels=100_000)
EXIF = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03" + bytes(9)
SEEDS = {kind: encoded(kind, (20, 14)) for kind in images.FORMATS} | {
    "JPEG with EXIF": encoded("JPEG", (20, 14), exif=EXIF),
    "palette": encoded("PNG", (20, 14), "P"),
    "float": encoded("TIFF", (20, 14), "F"),
    "CMYK": encoded("JPEG", (20, 14), "CMYK"),
}


def fits_or_is_refused(data: bytes, channels: int) -> None:
    try:
        pixels = images.decode(data, 5, 7, channels, LIMITS)
    except InvalidRequest as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert pixels.shape == (5, 7, channels)
        assert pixels.dtype == np.uint8


@FUZZ
@given(data=st.binary(max_size=300), channels=st.sampled_from([1, 3]))
@example(data=b"P6 1 1 255\n", channels=3)
@example(data=b"GIF89a", channels=1)
def test_any_bytes_are_decoded_or_refused(data: bytes, channels: int) -> None:
    fits_or_is_refused(data, channels)


@settings(FUZZ, max_examples=600)
@given(
    kind=st.sampled_from(sorted(SEEDS)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=6),
    keep=st.floats(0.1, 1),
    channels=st.sampled_from([1, 3]),
)
def test_any_damaged_image_is_decoded_or_refused(
    kind: str, changes: list[tuple[float, bytes]], keep: float, channels: int
) -> None:
    data = bytearray(SEEDS[kind])
    for place, replacement in changes:
        at = int(place**2 * len(data))  # mostly in the headers, where damage is more than noise
        data[at : at + len(replacement)] = replacement
    fits_or_is_refused(bytes(data[: max(1, int(len(data) * keep))]), channels)
