"""The decoder on readable images: modes, formats and colours."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service import images

RED = (200, 30, 60)
GREY = 84  # ITU-R 601 luma of RED
HEIGHT, WIDTH = 6, 8


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(mode: str, colour: Any) -> Image.Image:
    return Image.new(mode, (WIDTH, HEIGHT), colour)


def colour_of(image: bytes, channels: int = 3) -> list[int]:
    """The colour of a flat image, in the middle."""
    pixels = images.decode(image, HEIGHT, WIDTH, channels)
    assert pixels.shape == (HEIGHT, WIDTH, channels)
    assert pixels.dtype == np.uint8
    assert int(np.ptp(pixels.astype(int), axis=(0, 1)).max()) <= 2
    return [int(value) for value in pixels[HEIGHT // 2, WIDTH // 2]]


def palette(alpha: bytes | None = None) -> bytes:
    picture = Image.new("P", (WIDTH, HEIGHT), 1)
    picture.putpalette([0, 0, 0, *RED])
    return encoded(picture, "PNG", **({} if alpha is None else {"transparency": alpha}))


@pytest.mark.parametrize("kind", images.FORMATS)
@pytest.mark.parametrize(("channels", "expected"), [(3, list(RED)), (1, [GREY])])
def test_a_flat_colour_stays_that_colour_in_every_format(kind: str, channels: int, expected: list[int]) -> None:
    found = colour_of(encoded(flat("RGB", RED), kind), channels)
    assert found == pytest.approx(expected, abs=3)


HALF_RED = tuple((value + 255) // 2 for value in RED)  # laid on white


@pytest.mark.parametrize(
    ("image", "colour", "grey"),
    [
        pytest.param(encoded(flat("1", 1), "PNG"), [255] * 3, 255, id="1"),
        pytest.param(encoded(flat("1", 0), "PNG"), [0] * 3, 0, id="1-black"),
        pytest.param(encoded(flat("L", 77), "PNG"), [77] * 3, 77, id="L"),
        pytest.param(encoded(flat("L", 77), "PNG", transparency=77), [255] * 3, 255, id="L-keyed-transparent"),
        pytest.param(encoded(flat("LA", (77, 255)), "PNG"), [77] * 3, 77, id="LA"),
        pytest.param(encoded(flat("LA", (77, 0)), "PNG"), [255] * 3, 255, id="LA-transparent"),
        pytest.param(encoded(flat("LA", (55, 128)), "PNG"), [155] * 3, 155, id="LA-half"),
        pytest.param(palette(), RED, GREY, id="P"),
        pytest.param(palette(b"\xff\x80"), HALF_RED, 170, id="P-half"),
        pytest.param(palette(b"\xff\x00"), [255] * 3, 255, id="P-transparent"),
        pytest.param(encoded(flat("RGBA", (*RED, 255)).convert("PA"), "TIFF"), RED, GREY, id="PA"),
        pytest.param(encoded(flat("RGB", RED), "PNG"), RED, GREY, id="RGB"),
        pytest.param(encoded(flat("RGB", RED), "PNG", transparency=RED), [255] * 3, 255, id="RGB-keyed-transparent"),
        pytest.param(encoded(flat("RGBA", (*RED, 255)), "PNG"), RED, GREY, id="RGBA"),
        pytest.param(encoded(flat("RGBA", (*RED, 128)), "PNG"), HALF_RED, 170, id="RGBA-half"),
        pytest.param(encoded(flat("RGBA", (*RED, 0)), "WEBP", lossless=True), [255] * 3, 255, id="RGBA-webp"),
        pytest.param(encoded(flat("RGBA", (*RED, 128)), "AVIF"), HALF_RED, 170, id="RGBA-avif"),
        pytest.param(encoded(flat("RGB", RED).convert("CMYK"), "TIFF"), RED, GREY, id="CMYK"),
        pytest.param(encoded(flat("RGB", RED).convert("CMYK"), "JPEG"), RED, GREY, id="CMYK-jpeg"),
        pytest.param(encoded(flat("RGB", RED).convert("YCbCr"), "JPEG"), RED, GREY, id="YCbCr-jpeg"),
        pytest.param(encoded(flat("RGB", RED).convert("YCbCr"), "TIFF"), RED, GREY, id="YCbCr-tiff"),
        pytest.param(encoded(flat("LAB", (128, 128, 128)), "TIFF"), [119] * 3, 119, id="LAB"),
        pytest.param(encoded(flat("RGBX", (*RED, 0)), "TIFF"), RED, GREY, id="RGBX"),
        pytest.param(encoded(flat("F", 100.0), "TIFF"), [100] * 3, 100, id="F"),
        pytest.param(encoded(flat("F", 0.5), "TIFF"), [127] * 3, 127, id="F-up-to-one"),
        pytest.param(encoded(flat("F", float("inf")), "TIFF"), [255] * 3, 255, id="F-infinite"),
        pytest.param(encoded(flat("F", float("-inf")), "TIFF"), [0] * 3, 0, id="F-minus-infinite"),
        pytest.param(encoded(flat("F", float("nan")), "TIFF"), [0] * 3, 0, id="F-nan"),
        pytest.param(encoded(flat("I", -5), "TIFF"), [0] * 3, 0, id="I-negative"),
        pytest.param(encoded(flat("I", 70_000), "TIFF"), [255] * 3, 255, id="I-beyond-16-bit"),
    ],
)
def test_every_mode_becomes_rgb_and_grey(image: bytes, colour: list[int], grey: int) -> None:
    assert colour_of(image, 3) == pytest.approx(list(colour), abs=3)
    assert colour_of(image, 1) == pytest.approx([grey], abs=3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000", "PPM"])
@pytest.mark.parametrize(("value", "expected"), [(0, 0), (0x0100, 1), (0x8040, 128), (0xFFFF, 255)])
def test_sixteen_bits_are_scaled_and_not_clipped(kind: str, value: int, expected: int) -> None:
    picture = Image.fromarray(np.full((HEIGHT, WIDTH), value, dtype=np.uint16))
    assert picture.mode == "I;16"
    assert colour_of(encoded(picture, kind), 1) == [expected]
    assert colour_of(encoded(picture, kind), 3) == [expected] * 3


def test_big_endian_sixteen_bits_are_read_the_right_way_round() -> None:
    header = b"P5 %d %d 65535\n" % (WIDTH, HEIGHT)  # PGM is big-endian
    assert colour_of(header + b"\x80\x01" * (WIDTH * HEIGHT), 1) == [128]


def test_a_32_bit_integer_image_of_16_bit_values_is_scaled() -> None:
    assert colour_of(encoded(flat("I", 0x8040), "TIFF"), 1) == [128]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [flat("RGB", RED), flat("RGB", (0, 255, 0)), flat("RGB", (0, 0, 255))]
    image = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(image)) as opened:
        assert getattr(opened, "n_frames", 1) == 3
    assert colour_of(image) == pytest.approx(list(RED), abs=4)


def test_a_photo_with_a_second_picture_inside_is_its_first() -> None:
    """Many phones write MPO: a JPEG with more JPEGs behind it."""
    image = encoded(flat("RGB", RED), "MPO", save_all=True, append_images=[flat("RGB", (0, 0, 255))])
    assert colour_of(image) == pytest.approx(list(RED), abs=3)


def test_an_icon_is_its_largest_picture() -> None:
    image = encoded(Image.new("RGB", (64, 64), RED), "ICO", sizes=[(16, 16), (64, 64)])
    assert colour_of(image) == list(RED)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_single_pixel_fills_the_target(kind: str, channels: int) -> None:
    pixels = images.decode(encoded(Image.new("L", (1, 1), 90), kind), 5, 7, channels)
    assert pixels.shape == (5, 7, channels)
    assert np.abs(pixels.astype(int) - 90).max() <= 1


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (3, 2)])
def test_any_aspect_is_stretched_to_the_target(size: tuple[int, int]) -> None:
    assert images.decode(encoded(Image.new("RGB", size, RED), "JPEG"), 9, 4, 3).shape == (9, 4, 3)


def test_pixels_of_the_wanted_size_are_left_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    np.testing.assert_array_equal(images.decode(encoded(Image.fromarray(pixels), "PNG"), HEIGHT, WIDTH, 3), pixels)


def test_shrinking_averages_what_it_covers() -> None:
    """Without anti-aliasing a fine checkerboard would become black or white."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels = images.decode(encoded(Image.fromarray(board), "PNG"), 8, 8, 1)
    assert np.abs(pixels.astype(int) - 127).max() <= 3


@pytest.mark.parametrize("size", [(33, 47), (64, 48), (200, 100), (100, 200)])
@pytest.mark.parametrize("wanted", [(24, 16), (50, 50), (31, 46), (100, 25)])
def test_a_jpeg_decoded_in_part_looks_like_one_decoded_in_full(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Decoding at less than the target's size would blur what is there to be seen."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    wave = (127 + 60 * np.sin(x * 4 / width * np.pi) + 60 * np.cos(y * 4 / height * np.pi)).astype(np.uint8)
    image = encoded(Image.fromarray(wave), "JPEG", quality=95)
    with Image.open(io.BytesIO(image)) as opened:
        full = np.asarray(opened.resize(wanted, Image.Resampling.BILINEAR), dtype=int)
    pixels = images.decode(image, wanted[1], wanted[0], 1)[:, :, 0]
    assert np.abs(pixels - full).max() <= 12


def test_draft_decoding_never_gives_less_than_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[int, int]] = []
    to_mode = images._to_mode

    def noting(picture: Image.Image, mode: str) -> Image.Image:
        loaded.append(picture.size)
        return to_mode(picture, mode)

    monkeypatch.setattr(images, "_to_mode", noting)
    image = encoded(Image.new("RGB", (800, 403), RED), "JPEG")
    for height, width in ((50, 100), (51, 100), (60, 10), (101, 200), (403, 800), (500, 900), (1, 1)):
        images.decode(image, height, width, 3)
        assert loaded[-1][0] >= min(width, 800)
        assert loaded[-1][1] >= min(height, 403)
    assert loaded[-1][0] < 800  # and it is used where it can be


def test_same_bytes_give_the_same_pixels_in_every_thread() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    image = encoded(Image.fromarray(noise), "JPEG")
    alone = images.decode(image, 40, 30, 3)
    with ThreadPoolExecutor(8) as pool:
        for pixels in pool.map(lambda _: images.decode(image, 40, 30, 3), range(64)):
            np.testing.assert_array_equal(pixels, alone)
