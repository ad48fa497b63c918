"""HEIC photographs, as telephones send them: read where the extra `heif` is installed, and named where it is not."""

import base64
import io
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from service import images
from service.errors import InvalidImage, InvalidRequest, TooLarge
from service.images import ImageLimits
from tests.unit.service.test_images import GREY, HEIGHT, RED, WIDTH, colour_of
from tests.unit.service.test_images_orientation import CORNERS, STORED, corners, scene

needs_decoder = pytest.mark.skipif(not images.reads_heif(), reason="the heif extra is not installed")


def encoded(picture: Image.Image, **options: Any) -> bytes:
    assert images.reads_heif()
    buffer = io.BytesIO()
    picture.save(buffer, "HEIF", **{"quality": 95, **options})
    return buffer.getvalue()


def flat(mode: str, colour: Any, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    return Image.new(mode, size, colour)


def noise(width: int = 60, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@needs_decoder
@pytest.mark.parametrize(
    ("mode", "colour", "expected", "grey"),
    [
        ("RGB", RED, RED, GREY),
        ("L", 77, [77] * 3, 77),
        ("RGBA", (*RED, 255), RED, GREY),
        ("RGBA", (*RED, 0), [255] * 3, 255),
        ("RGBA", (*RED, 128), [(value + 255) // 2 for value in RED], 170),
        ("LA", (77, 0), [255] * 3, 255),
    ],
)
def test_every_mode_becomes_rgb_and_grey(mode: str, colour: Any, expected: Any, grey: int) -> None:
    image = encoded(flat(mode, colour))
    assert colour_of(image, 3) == pytest.approx(list(expected), abs=4)
    assert colour_of(image, 1) == pytest.approx([grey], abs=4)


@needs_decoder
@pytest.mark.parametrize("mode", ["RGB;16", "L;16"])
def test_ten_bits_are_scaled_and_not_clipped(mode: str) -> None:
    import pillow_heif

    values = np.full((HEIGHT, WIDTH, 3 if mode == "RGB;16" else 1), 0x8040, dtype=np.uint16)
    buffer = io.BytesIO()
    pillow_heif.encode(mode, (WIDTH, HEIGHT), values.tobytes(), buffer)
    assert colour_of(buffer.getvalue()) == pytest.approx([128] * 3, abs=1)


@needs_decoder
@pytest.mark.parametrize("orientation", STORED)
def test_a_turned_photograph_comes_out_upright_once(orientation: int) -> None:
    """A telephone writes how it was held into the container, and once more into the EXIF data."""
    turn = STORED[orientation]
    picture = scene(48, 32) if turn is None else scene(48, 32).transpose(turn)
    picture.getexif()[0x0112] = orientation
    image = encoded(picture)
    assert (b"irot" in image or b"imir" in image) == (orientation != 1)
    for found, expected in zip(corners(images.decode(image, 12, 20, 3)), CORNERS, strict=True):
        assert found == pytest.approx(list(expected), abs=40)


@needs_decoder
def test_exif_alone_turns_nothing() -> None:
    """ISO/IEC 23008-12: what counts is the container's own."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = encoded(scene(48, 32), exif=exif)
    assert b"irot" not in image
    for found, expected in zip(corners(images.decode(image, 32, 48, 3)), CORNERS, strict=True):
        assert found == pytest.approx(list(expected), abs=40)


@needs_decoder
@pytest.mark.parametrize("primary", [0, 1, 2])
def test_of_several_pictures_the_primary_one_counts(primary: int) -> None:
    frames = [flat("RGB", colour) for colour in ((0, 255, 0), (0, 0, 255), RED)]
    frames[primary], frames[2] = frames[2], frames[primary]
    image = encoded(frames[0], save_all=True, append_images=frames[1:], primary_index=primary)
    assert colour_of(image) == pytest.approx(list(RED), abs=4)


@needs_decoder
def test_a_thumbnail_never_stands_for_its_picture() -> None:
    """Another picture could lie there: decoding small ones instead of large ones must not change what is seen."""
    import pillow_heif

    large = flat("RGB", RED, (512, 512))
    image = encoded(large, thumbnails=[128])
    opened = Image.open(io.BytesIO(image))
    assert not opened.info["thumbnails"]
    assert opened.draft("RGB", (64, 64)) is None
    assert not pillow_heif.options.THUMBNAILS


@needs_decoder
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_photograph_is_refused_wherever_it_ends(part: float) -> None:
    whole = encoded(noise())
    with pytest.raises(InvalidImage):
        images.decode(whole[: int(len(whole) * part)], 40, 60, 3)


def with_size(image: bytes, width: int, height: int) -> bytes:
    """The file with another size in its header."""
    at = image.index(b"ispe") + 8
    return image.replace(image[at : at + 8], struct.pack(">II", width, height))


@needs_decoder
def test_too_many_pixels_are_refused_by_the_header() -> None:
    image = encoded(noise(64, 64))
    with pytest.raises(TooLarge, match=r"64x64 pixels; at most 4095"):
        images.decode(image, 4, 4, 3, ImageLimits(max_pixels=4095))
    assert images.decode(image, 4, 4, 3, ImageLimits(max_pixels=4096)).shape == (4, 4, 3)
    with pytest.raises(TooLarge, match=r"pixels"):
        images.decode(with_size(image, 30_000, 30_000), 4, 4, 3)


@needs_decoder
@pytest.mark.slow
def test_a_bomb_whose_header_lies_is_refused() -> None:
    image = with_size(encoded(flat("RGB", RED, (2048, 2048))), 64, 64)
    with pytest.raises(InvalidImage, match=r"2048x2048"):
        images.decode(image, 4, 4, 3, ImageLimits(max_pixels=5000))


@needs_decoder
@pytest.mark.parametrize(
    "before", [b"", struct.pack(">I4s8s", 16, b"free", b"padding!"), struct.pack(">I4sQ", 1, b"free", 16)]
)
@pytest.mark.slow
def test_a_bomb_that_is_cropped_to_a_small_picture_is_refused(before: bytes) -> None:
    image = encoded(flat("RGB", RED, (2000, 1001)))  # coded as 2000 x 1002 and cropped
    at = image.index(b"clap") + 4
    cropped = image[:at] + struct.pack(">IIIIiIiI", 64, 1, 48, 1, 0, 1, 0, 1) + image[at + 32 :]
    assert Image.open(io.BytesIO(cropped)).size == (64, 48)
    behind_ftyp = int.from_bytes(cropped[:4])
    image = cropped[:behind_ftyp] + before + cropped[behind_ftyp:]
    with pytest.raises(TooLarge, match=r"2000x1002 pixels"):
        images.decode(image, 4, 4, 3, ImageLimits(max_pixels=5000))


@needs_decoder
@pytest.mark.slow
def test_a_bomb_of_tiles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Telephones lay out tiles; here more of them than the picture says."""
    import pillow_heif

    monkeypatch.setattr(pillow_heif.options, "GRID_TILE_SIZE", 512)
    tiled = encoded(flat("RGB", RED, (2048, 1024)))
    assert images.decode(tiled, 4, 4, 3)[0, 0] == pytest.approx(list(RED), abs=4)
    image = tiled.replace(struct.pack(">4sIII", b"ispe", 0, 2048, 1024), struct.pack(">4sIII", b"ispe", 0, 64, 64))
    with pytest.raises(TooLarge, match=r"2048x1024 pixels"):
        images.decode(image, 4, 4, 3, ImageLimits(max_pixels=600_000))


@needs_decoder
def test_any_damage_is_decoded_or_refused() -> None:
    whole, random = encoded(noise(20, 14)), np.random.default_rng(1)
    for _ in range(400):
        data = bytearray(whole)
        for place in random.random(random.integers(1, 7)):
            data[int(place**2 * len(data))] = random.integers(256)
        try:
            pixels = images.decode(bytes(data), 5, 7, 3, ImageLimits(max_pixels=100_000))
        except InvalidRequest as error:
            assert str(error)  # noqa: PT017 - either outcome is right
        else:
            assert pixels.shape == (5, 7, 3)


HEIC = struct.pack(">I4s4sI8s", 24, b"ftyp", b"heic", 0, b"mif1heic") + bytes(80)

PROGRAM = """
import sys
sys.modules["pillow_heif"] = None  # what is not installed can't be imported
from service import images
from service.errors import InvalidImage
for brand in (b"heic", b"heix", b"mif1", b"msf1"):
    try:
        images.decode(bytes([0, 0, 0, 24]) + b"ftyp" + brand + bytes(96), 4, 4, 3)
    except InvalidImage as error:
        print(error)
"""


def test_without_the_extra_the_format_and_the_extra_are_named() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    for line in lines:
        assert line.startswith("This is a HEIC photograph; this service can decode it once the heif extra is installed")
        assert "pip install 'signpost-serving[heif]'" in line


@needs_decoder
def test_a_heic_header_with_nothing_behind_is_called_broken() -> None:
    with pytest.raises(InvalidImage, match="its header is corrupt or truncated"):
        images.decode(HEIC, 4, 4, 3)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\0\0\0\x18ftypmp42" + bytes(60), "it is a video"),
        (b"\0\0\0\x14ftypqt  " + bytes(60), "it is a video"),
        (b"\0\0\0\x18ftypcrx " + bytes(60), "raw photograph"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60), "it is JPEG XL"),
        (b"\xff\x0a" + bytes(60), "it is JPEG XL"),
        (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", "no known format|broken|cut off"),
    ],
)
def test_what_else_telephones_hold_is_called_what_it_is(data: bytes, found: str) -> None:
    with pytest.raises(InvalidImage, match=found):
        images.decode(data, 4, 4, 3)


# A flat picture of RED in 8 x 6 pixels of ten bits each, lossless, made with libavif's `avifenc --depth 10`.
TEN_BIT_AVIF = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUEAAADybWV0YQAAAAAAAAAoaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAAAGxpYmF2aWYA"
    "AAAADnBpdG0AAAAAAAEAAAAeaWxvYwAAAABEAAABAAEAAAABAAABGgAAACIAAAAoaWluZgAAAAAAAQAAABppbmZlAgAAAAABAABhdjAxQ29sb3IA"
    "AAAAamlwcnAAAABLaXBjbwAAABRpc3BlAAAAAAAAAAgAAAAGAAAAEHBpeGkAAAAAAwoKCgAAAAxhdjFDgSBAAAAAABNjb2xybmNseAABAA0AAIAA"
    "AAAXaXBtYQAAAAAAAAABAAEEAQKDBAAAACptZGF0EgAKCDgIvWMBDQAgMhQQAAAAD/o99i9Qx6jMs/VKey6QGQ=="
)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_an_avif_of_ten_bits_is_read() -> None:
    assert colour_of(TEN_BIT_AVIF, 3) == list(RED)
    assert colour_of(TEN_BIT_AVIF, 1) == [GREY]


def test_a_pillow_without_avif_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.features, "check", lambda _: False)
    monkeypatch.setattr(images, "FORMATS", ("JPEG",))
    with pytest.raises(InvalidImage, match=r"This is an AVIF picture, and this service's Pillow was built without"):
        images.decode(b"\0\0\0\x18ftypavif" + bytes(60), 4, 4, 3)
