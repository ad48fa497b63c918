"""Folders of images become data sets, with their faults counted."""

import errno
import io
import zipfile
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import service.images
from training.data import cache, images
from training.data.images import Layout
from training.data.request import Request
from training.errors import TrainingError

LAYOUT = Layout(size=(6, 8), stored=(12, 16))


def photo(seed: int, form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()


def tree(at: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(content)
    return at


def request(at: Path, *paths: Path, said: list[str] | None = None) -> Request:
    return Request(paths, 0, None, at / "cache", (said if said is not None else []).append)


def pets(count: int = 20, **others: bytes) -> dict[str, bytes]:
    made = {f"{name}/{n}.png": photo(2 * n + k) for k, name in enumerate(("cat", "dog")) for n in range(count)}
    return made | others


def test_a_part_is_held_out_when_the_source_names_none(tmp_path: Path) -> None:
    data = images.load(request(tmp_path, tree(tmp_path / "pets", pets())), LAYOUT)
    assert data.test.counts() == {"cat": 3, "dog": 3}
    assert data.train.counts() == {"cat": 17, "dog": 17}
    assert data.train.shape == (12, 16, 3)
    assert data.test.shape == (6, 8, 3)
    names = [{part.name(n) for n in range(len(part))} for part in (data.train, data.test)]
    assert not names[0] & names[1]


def test_a_recipe_decides_about_parts_and_leaves_folders_out(tmp_path: Path) -> None:
    parts = {"1.png": "test", "2.png": "validation", "3.png": "train"}
    layout = replace(
        LAYOUT,
        label=lambda folder: None if folder == "fox" else folder,
        part=lambda name: parts.get(name, ""),
        groups=(("second", lambda name: name == "1.png"),),
    )
    files = pets() | {f"fox/{n}.png": photo(900 + n) for n in range(3)}
    data = images.load(request(tmp_path, tree(tmp_path / "pets", files)), layout)
    assert data.validation is not None
    assert data.validation.counts() == data.test.counts() == {"cat": 1, "dog": 1}
    assert data.train.counts() == {"cat": 18, "dog": 18}
    assert data.groups["second"].tolist() == [0, 1]


def test_the_list_beside_the_source_names_the_test(tmp_path: Path) -> None:
    (tmp_path / "pets.test.txt").write_text("cat/3.png\ndog/0.png\n")
    data = images.load(request(tmp_path, tree(tmp_path / "pets", pets())), LAYOUT)
    assert [data.test.name(n) for n in range(2)] == ["cat/3.png", "dog/0.png"]
    assert len(data.train) == 38


def test_parts_that_the_source_names_are_used(tmp_path: Path) -> None:
    files = {f"train/{name}": content for name, content in pets().items()}
    files |= {f"validation/{name}": photo(1000 + n) for n, name in enumerate(pets(4))}
    data = images.load(request(tmp_path, tree(tmp_path / "pets", files)), LAYOUT)
    assert (len(data.train), len(data.test)) == (40, 8)


def test_copies_of_test_images_are_not_learned(tmp_path: Path) -> None:
    (tmp_path / "pets.test.txt").write_text("cat/3.png\n")
    files = pets() | {"cat/copy.png": photo(6)}  # cat/3.png again
    data = images.load(request(tmp_path, tree(tmp_path / "pets", files)), LAYOUT)
    assert "cat/copy.png" not in [data.train.name(n) for n in range(len(data.train))]
    assert data.facts["training_copies_of_test_images_left_out"] == 1


def test_files_that_are_no_images_are_skipped_and_counted(tmp_path: Path) -> None:
    files = pets() | {"cat/Thumbs.db": b"no image", "dog/zero.jpg": b"", "dog/cut.png": photo(77)[:200]}
    data = images.load(request(tmp_path, tree(tmp_path / "pets", files)), LAYOUT)
    assert len(data.train) + len(data.test) == 40
    assert data.facts["skipped"] == {"no image": 2, "empty": 1}
    assert {data.train.name(n).rsplit("/", 1)[0] for n in range(len(data.train))} == {"cat", "dog"}
    assert all(
        data.train.name(n).startswith(data.train.classes[data.train.targets()[n]]) for n in range(len(data.train))
    )


def test_photographs_without_their_decoder_are_told_and_read_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heic = b"\0\0\0\x18ftypheic" + bytes(90)
    source = tree(tmp_path / "pets", pets() | {"cat/IMG_1.HEIC": heic})
    monkeypatch.setattr(service.images, "reads_heif", lambda: False)
    monkeypatch.setattr(cache, "reads_heif", lambda: False)
    data = images.load(request(tmp_path, source), LAYOUT)
    assert data.facts["skipped"] == {"decoder not installed (HEIC needs the extra heif)": 1}

    monkeypatch.setattr(cache, "reads_heif", lambda: True)
    read = cache.decode
    monkeypatch.setattr(cache, "decode", lambda image, *how: read(photo(999) if image == heic else image, *how))
    assert data.facts["skipped"] != images.load(request(tmp_path, source), LAYOUT).facts["skipped"]


def test_groups_are_found_by_their_names(tmp_path: Path) -> None:
    files = {f"train/{name}": content for name, content in pets().items()}
    files |= {
        f"test/cat/{kind}_{n}.png": photo(500 + 10 * n + len(kind)) for kind in ("web", "phone") for n in range(2)
    }
    layout = Layout((6, 8), (12, 16), groups=(("phones", "phone_"), ("webcams", "web_"), ("drones", "drone_")))
    data = images.load(request(tmp_path, tree(tmp_path / "pets", files)), layout)
    assert {name: [data.test.name(n) for n in at] for name, at in data.groups.items()} == {
        "phones": ["test/cat/phone_0.png", "test/cat/phone_1.png"],
        "webcams": ["test/cat/web_0.png", "test/cat/web_1.png"],
    }


def test_nothing_is_decoded_twice_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tree(tmp_path / "pets", pets())
    first = images.load(request(tmp_path, source), LAYOUT)
    decoded = 0
    real = cache.decode

    def counting(*arguments: object) -> object:
        nonlocal decoded
        decoded += 1
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "decode", counting)
    again = images.load(request(tmp_path, source), LAYOUT)
    assert decoded == 0
    assert again.train.fingerprint() == first.train.fingerprint()
    assert isinstance(again.train.pixels.base, np.memmap)
    name = again.train.name(0)
    (source / name).write_bytes(photo(999))
    changed = images.load(request(tmp_path, source), LAYOUT)
    assert decoded == len(changed.train)
    assert changed.train.fingerprint() != first.train.fingerprint()


BROKEN = {"eel/1.png": b"broken", "eel/2.png": b""}


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"cat/1.png": photo(1), "cat/2.png": photo(2)}, "one class, 'cat'"),
        ({"cat/1.png": photo(1)}, "one class, 'cat'"),
        ({"cat/1.png": photo(1), "dog/1.png": photo(2)}, "'cat' has 1 training image, the class 'dog' has 1 training"),
        ({f"{n % 2}/{n}.png": photo(n) for n in range(6)}, "too few images to hold some out"),
        (pets() | BROKEN, r"'eel' has 0 training images \(2 of 2 files can't be read as images, for example eel/1.png"),
        (pets() | {"eel/notes.txt": b"to do"}, "'eel' has 0 training images .*eel/notes.txt"),
        ({f"test/{name}": content for name, content in pets().items()}, "pets is a test part"),
        ({f"train/{name}": content for name, content in pets().items()} | {"test/cat/1.png": b"no"}, "None of the 1"),
        ({f"train/{name}": photo(7) for name in pets()} | {"test/cat/1.png": photo(7)}, "beside 20 copies of test im"),
        ({f"{when}/{name}": content for name, content in pets().items() for when in ("am", "pm")}, "cat, dog.*outer"),
    ],
)
def test_folders_that_can_not_be_learned_from_are_refused(
    files: dict[str, bytes], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=problem):
        images.load(request(tmp_path, tree(tmp_path / "pets", files)), LAYOUT)


def test_an_empty_class_folder_is_refused_by_name(tmp_path: Path) -> None:
    source = tree(tmp_path / "pets", pets())
    (source / "eel").mkdir()
    with pytest.raises(TrainingError, match=r"'eel' has 0 training images \(there is no image in .*pets/eel\)"):
        images.load(request(tmp_path, source), LAYOUT)
    assert images.load(
        request(tmp_path, source, tree(tmp_path / "eels", {f"eel/{n}.png": photo(n) for n in range(9)})), LAYOUT
    )


def test_the_level_of_the_classes_can_be_said(tmp_path: Path) -> None:
    files = {f"{when}/{name}": photo(hash_of) for hash_of, (when, name) in enumerate(product(("am", "pm"), pets()))}
    asked = request(tmp_path, tree(tmp_path / "pets", files))
    assert images.load(replace(asked, class_folders="outer"), LAYOUT).train.classes == ("am", "pm")
    assert images.load(replace(asked, class_folders="inner"), LAYOUT).train.classes == ("cat", "dog")


def test_what_is_worth_knowing_about_classes_is_told(tmp_path: Path) -> None:
    files = {f"train/{name}": content for name, content in pets().items()}
    files |= {f"train/Cat/{n}.png": photo(300 + n) for n in range(3)} | {"test/cat/1.png": photo(900)}
    files |= {"title.png": photo(901)}
    said: list[str] = []
    data = images.load(request(tmp_path, tree(tmp_path / "pets", files), said=said), LAYOUT)
    assert "The classes 'Cat' and 'cat' differ only in case; they are trained as two classes." in said
    assert data.facts["classes_without_test_images"] == ["Cat", "dog"]
    assert data.facts["images_in_no_class_folder"] == 1


def test_images_to_judge_by_are_matched_to_the_classes_wherever_they_lie(tmp_path: Path) -> None:
    files = {f"{when}/{name}": photo(n) for n, name in enumerate(pets(2)) for when in ("2020", "2021")}
    said: list[str] = []
    asked = request(tmp_path, tree(tmp_path / "pets", files), said=said)
    data = images.load_labelled(asked, ("Cat", "dog", "eel"), (6, 8, 3))
    assert data.test.counts() == {"Cat": 4, "dog": 4, "eel": 0}
    assert any("no images of 'eel'" in line for line in said)
    both = images.load_labelled(asked, ("cat", "Cat", "dog"), (6, 8, 3))
    assert both.test.counts() == {"cat": 4, "Cat": 0, "dog": 4}


def test_an_archive_with_a_compression_that_is_not_known_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in pets().items():
            archive.writestr(name, content)
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(mark) + at] = 9  # Deflate64, as Windows packs large archives
    path.write_bytes(content)
    assert images.load(request(tmp_path, path), LAYOUT).facts["skipped"] == {"unreadable": 1}


def test_a_full_disk_under_the_cache_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.os, "posix_fallocate", full)
    with pytest.raises(TrainingError, match=r"The cache .* can't be used: No space left on device; free disk space"):
        images.load(request(tmp_path, tree(tmp_path / "pets", pets())), LAYOUT)
    assert list((tmp_path / "cache" / "pixels").iterdir()) == []


def test_a_cache_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(TrainingError, match=r"The cache .* can't be used"):
        images.load(request(tmp_path, tree(tmp_path / "pets", pets())), LAYOUT)
