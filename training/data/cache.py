"""Decoded pixels on disk, so that no epoch decodes an image again.

The cache is one memory-mapped uint8 array for each list of files and size, in a folder called by the hash of both;
a changed file changes the hash. Decoding is `service.images`, the same as in serving.
"""

import hashlib
import json
import lzma
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.errors import MissingDecoder, SignpostError
from service.images import decode, reads_heif
from training.data.datasets import Pixels
from training.data.sources import File
from training.errors import TrainingError

_FORMAT: Final = "1"  # counts up when the decoder's pixels change, so that old caches are not used
_EXAMPLES: Final = 5
_AT_ONCE: Final = 256


@dataclass(frozen=True, eq=False)
class Decoded:
    """The pixels of a list of files.

    Attributes:
        pixels: uint8 (N, H, W, C), memory-mapped.
        rows: for each image, which of the files it is; files that are not images are left out.
        skipped: how many files could not be decoded, by reason.
        examples: some of their names.
    """

    pixels: Pixels
    rows: list[int]
    skipped: dict[str, int]
    examples: list[str]


def decoded(
    files: Sequence[File], size: tuple[int, int], channels: int, folder: Path, say: Callable[[str], None]
) -> Decoded:
    """The pixels of all files that are images, from the cache or decoded into it.

    Args:
        files: what to decode.
        size: height and width, in pixels.
        channels: 3 (RGB) or 1 (L).
        folder: of the cache.
        say: hears how it goes.

    Raises:
        TrainingError: the cache can't be written.
    """
    key = _key(files, size, channels)
    place = folder / "pixels" / key
    try:
        if not (place / "index.json").is_file():
            _fill(place, files, size, channels, say)
        index = json.loads((place / "index.json").read_text("utf-8"))
        pixels = np.load(place / "pixels.npy", mmap_mode="r")
    except OSError as error:
        raise TrainingError(
            f"The cache {folder} can't be used: {error.strerror or error}; "
            "free disk space or choose another with --cache."
        ) from error
    return Decoded(pixels, index["rows"], index["skipped"], index["examples"])


def _key(files: Sequence[File], size: tuple[int, int], channels: int) -> str:
    decoders = " heif" if reads_heif() else ""  # what was skipped without it is not with it
    digest = hashlib.blake2b(f"{_FORMAT} {size} {channels}{decoders}".encode(), digest_size=16)
    for file in files:
        digest.update(f"{file.name}\0{file.stamp}\n".encode())
    return digest.hexdigest()


def _fill(place: Path, files: Sequence[File], size: tuple[int, int], channels: int, say: Callable[[str], None]) -> None:
    """Decode everything into a folder beside `place`, then rename it."""
    say(f"Decoding {len(files)} files to {size[1]}x{size[0]} pixels, once ...")
    began = time.monotonic()
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=place.parent))
    try:
        pixels = np.lib.format.open_memmap(
            temporary / "pixels.npy", mode="w+", dtype=np.uint8, shape=(len(files), *size, channels)
        )
        # A disk that runs full under a memory map kills the process (SIGBUS); this makes it an error.
        with (temporary / "pixels.npy").open("r+b") as reserved:
            os.posix_fallocate(reserved.fileno(), 0, os.fstat(reserved.fileno()).st_size)
        rows: list[int] = []
        skipped: dict[str, int] = {}
        examples: list[str] = []

        def one(file: File) -> Pixels | str:
            try:
                content = file.read()
                return decode(content, *size, channels) if content else "empty"
            except MissingDecoder:
                return "decoder not installed (HEIC needs the extra heif)"
            except SignpostError:
                return "no image"
            except (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError):
                return "unreadable"

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            remaining = iter(enumerate(files))
            while chunk := list(islice(remaining, _AT_ONCE)):  # so that at most this many wait in memory
                for (number, file), result in zip(chunk, pool.map(one, [file for _, file in chunk]), strict=True):
                    if isinstance(result, str):
                        skipped[result] = skipped.get(result, 0) + 1
                        if len(examples) < _EXAMPLES:
                            examples.append(file.name)
                    else:
                        pixels[len(rows)] = result
                        rows.append(number)
        pixels.flush()
        del pixels
        index: dict[str, Any] = {"rows": rows, "skipped": skipped, "examples": examples}
        (temporary / "index.json").write_text(json.dumps(index), "utf-8")
        if not place.exists():
            os.rename(temporary, place)  # noqa: PTH104 - Path.rename is the same call
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    say(f"Decoded {len(rows)} images at {len(files) / (time.monotonic() - began):.0f} files/s.")
