"""The one decoder: image bytes in, pixels out, the same in training, evaluation and serving.

Every place that turns a file or a request body into what a model sees calls `decode`; that is the guard against
training-serving skew. Pillow does the work and releases the interpreter lock while it does.
"""

import functools
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, features

from service.errors import InvalidImage, MissingDecoder, TooLarge

Pixels = npt.NDArray[np.uint8]

MODES: Final = {1: "L", 3: "RGB"}

# Formats that people send and that Pillow decodes by itself. Those left out start other programs (EPS), are
# containers of something else (PDF, FPX), or have never been asked for; fewer parsers are fewer ways in.
FORMATS: Final = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "ICO", "TGA", "JPEG2000", "AVIF",
)  # fmt: skip

# HEIC photographs of telephones, where the extra `heif` is installed.
HEIF: Final = "HEIF"
# What stands behind `ftyp` in files of that container: for pictures of HEVC, or of any kind; and for those of AV1.
_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF_BRANDS: Final = (b"avif", b"avis")
# A picture's "spatial extents" in such a file: version and flags, width, height.
_SIZES: Final = re.compile(rb"ispe.{4}(.{4})(.{4})", re.DOTALL)

_SIXTEEN_BIT: Final = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_ALPHA: Final = ("RGBA", "LA", "PA", "RGBa", "La")

_EXIF_ORIENTATION: Final = 0x0112
# How to turn an image upright, by the orientation that its EXIF tag states (EXIF 2.32, 4.6.4).
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_AXES: Final = tuple(_UPRIGHT[n] for n in (5, 6, 7, 8))


@dataclass(frozen=True)
class ImageLimits:
    """What one image may cost.

    Attributes:
        max_bytes: size of the encoded image.
        max_pixels: width times height, as the file's header states them, before anything is decoded.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000


DEFAULT_LIMITS: Final = ImageLimits()


def decode(image: bytes, height: int, width: int, channels: int, limits: ImageLimits = DEFAULT_LIMITS) -> Pixels:
    """Decode an image to the size and mode that a model takes.

    The first frame (of a HEIC file its primary picture) is turned upright by its EXIF orientation, laid on white where
    it is transparent, brought to 8 bits, converted to RGB or L, and stretched to `width` x `height` (bilinear, with
    anti-aliasing).

    Args:
        image: the encoded image.
        height: rows wanted, in pixels.
        width: columns wanted, in pixels.
        channels: 3 (RGB) or 1 (L).
        limits: what the image may cost.

    Returns:
        uint8 array of shape (height, width, channels).

    Raises:
        TooLarge: more bytes or pixels than `limits` allow.
        InvalidImage: empty, no image, of a format not taken, truncated or broken.
        MissingDecoder: of a format that would be taken if its decoder were installed.
    """
    if channels not in MODES:
        raise InvalidImage(f"The model takes {channels} channels; images can be decoded to 1 (L) or 3 (RGB).")
    if not image:
        raise InvalidImage("The image is empty (0 bytes); send the bytes of a JPEG, PNG, WebP, GIF, BMP or TIFF file.")
    if len(image) > limits.max_bytes:
        raise TooLarge(f"The image has {len(image)} bytes; at most {limits.max_bytes} are allowed.")
    try:
        return _decode(image, height, width, MODES[channels], limits)
    except (InvalidImage, TooLarge):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"The image has more pixels than the {limits.max_pixels} that are allowed.") from error
    except MemoryError as error:
        raise TooLarge("The image needs more memory than is available; send a smaller one.") from error
    except Exception as error:  # a parser of foreign bytes may raise anything; all of it means "broken"
        raise InvalidImage(f"The image can't be decoded: {_reason(error)}.") from error


def _decode(image: bytes, height: int, width: int, mode: str, limits: ImageLimits) -> Pixels:
    with _open(image) as picture:
        for columns, rows in (picture.size, *(_sizes_within(picture, image) if picture.format == HEIF else ())):
            if columns * rows > limits.max_pixels:
                raise TooLarge(f"The image has {columns}x{rows} pixels; at most {limits.max_pixels} are allowed.")
        # Pillow turns a TIFF upright by itself while it loads it. A HEIC file's container says how its picture is
        # turned, which its decoder does; there EXIF counts for nothing (ISO/IEC 23008-12).
        turn = None if picture.format in ("TIFF", HEIF) else _UPRIGHT.get(_orientation(picture))
        wanted = (height, width) if turn in _SWAPS_AXES else (width, height)
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size for a fraction of the time; never below `wanted`.
        picture.draft(mode, wanted)
        picture.load()
        upright = _to_mode(picture, mode)
    if upright.size != wanted:
        upright = upright.resize(wanted, Image.Resampling.BILINEAR)
    if turn is not None:
        upright = upright.transpose(turn)
    pixels = np.asarray(upright, dtype=np.uint8)  # (H, W) for L, (H, W, 3) for RGB
    return pixels.reshape(height, width, -1)


def _open(image: bytes) -> Image.Image:
    is_heif = image[4:8] == b"ftyp" and image[8:12] in _HEIF_BRANDS and b"avif" not in image[16:64]
    formats = (*FORMATS, HEIF) if is_heif and reads_heif() else FORMATS
    try:
        return Image.open(io.BytesIO(image), formats=formats)
    except UnidentifiedImageError as error:
        if is_heif and not reads_heif():
            raise MissingDecoder(
                "This is a HEIC photograph; this service can decode it once the heif extra is "
                "installed (pip install 'signpost-serving[heif]'). Until then, send a JPEG."
            ) from error
        if image[4:8] == b"ftyp" and image[8:12] in _AVIF_BRANDS and not features.check("avif"):
            raise MissingDecoder(
                "This is an AVIF picture, and this service's Pillow was built without its decoder; send a JPEG."
            ) from error
        raise InvalidImage(_not_an_image(image, is_heif)) from error


@functools.cache
def reads_heif() -> bool:
    """Whether HEIC photographs can be decoded: whether the extra `heif` is installed. Registers its decoder."""
    try:
        import pillow_heif
    except ImportError:
        return False
    # Never the thumbnail in a file instead of its picture, and no threads beside the caller's.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    return True


def _sizes_within(picture: Image.Image, image: bytes) -> Iterator[tuple[int, int]]:
    """The sizes of what a HEIC file holds, before it is cropped: of its tiles together, and in its `meta` box."""
    if (tiles := picture.info.get("tiling")) is not None:
        yield tiles["image_width"], tiles["image_height"]
    start, end = 0, len(image)
    while start + 16 <= end:
        size = int.from_bytes(image[start : start + 4]) or end - start  # 0: up to the end of the file
        if size == 1:  # it did not fit
            size = int.from_bytes(image[start + 8 : start + 16])
        if image[start + 4 : start + 8] == b"meta":
            for found in _SIZES.finditer(image, start, start + size):
                yield int.from_bytes(found[1]), int.from_bytes(found[2])
        start += max(size, 8)


def _not_an_image(image: bytes, is_heif: bool) -> str:
    """What bytes are that can't be opened."""
    start = image[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        found = "it is an HTML page"
    elif start.startswith((b"<?xml", b"<svg")):
        found = "it is XML or SVG"
    elif is_heif or start.startswith((b"\x89png", b"\xff\xd8\xff", b"gif8", b"riff", b"ii*\0", b"mm\0*")):
        found = "its header is corrupt or truncated"
    elif image[4:12] == b"ftypcrx ":
        found = "it is a camera's raw photograph"
    elif image[4:8] == b"ftyp" and image[8:12] not in _AVIF_BRANDS:
        found = "it is a video or similar (MP4, QuickTime)"
    elif start.startswith((b"\xff\n", b"\0\0\0\x0cjxl ")):
        found = "it is JPEG XL"
    elif start.startswith((b"/9j/", b"ivborw0kggo", b"uklgr", b"r0lgod", b"data:")):
        found = 'it is base64 or a data: URL, which belongs in JSON ({"b64": …}); here, send the bytes themselves'
    elif start.startswith((b"{", b"[")) and start.isascii():
        found = "it is JSON, which needs the Content-Type application/json"
    elif start.isascii() and not start.translate(None, bytes(range(32, 127)) + b"\t\r\n"):
        found = "it is text"
    else:
        found = "its first bytes match no known format"
    return f"This is not an image: {found} ({len(image)} bytes); send a JPEG, PNG, WebP, GIF, BMP or TIFF file."


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # broken metadata must not cost anyone a readable image
        return 1


def _to_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Convert any mode of Pillow's to L or RGB."""
    if picture.mode in _SIXTEEN_BIT:
        # Pillow's own conversion clips at 255 instead of scaling.
        values = np.asarray(picture).clip(0, 0xFFFF)
        picture = Image.fromarray((values >> 8).astype(np.uint8))
    elif picture.mode == "F":
        values = np.nan_to_num(np.asarray(picture, dtype=np.float32)).clip(0.0, 255.0)
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
        picture = Image.fromarray((values * scale).astype(np.uint8))
    if picture.mode in _ALPHA or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, layer)
    if picture.mode not in ("1", "L", "P", "RGB", "RGBA"):
        picture = picture.convert("RGB")  # Pillow has no direct way from LAB, HSV or CMYK to L
    return picture if picture.mode == mode else picture.convert(mode)


def _reason(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "it is truncated" + (f" ({text})" if text and "Truncated" not in text else "")
    return text or type(error).__name__
