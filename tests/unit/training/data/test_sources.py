"""The layouts in which people keep labelled images."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.data import sources
from training.errors import TrainingError


def folder(at: Path, *names: str) -> Path:
    for name in names:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(name.encode())
    return at


def found(path: Path) -> list[tuple[str, str, str]]:
    return [(file.name, file.label, file.part) for file in sources.find([path]).files]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat/1.jpg", "dog/2.jpg"], [("cat", ""), ("dog", "")]),
        (["photos/cat/1.jpg", "photos/dog/2.jpg"], [("cat", ""), ("dog", "")]),
        (
            ["train/cat/1.jpg", "validation/cat/2.jpg", "test/dog/3.jpg"],
            [("dog", "test"), ("cat", "train"), ("cat", "test")],
        ),
        (["PetImages/Cat/0.jpg", "PetImages/Dog/0.jpg", "readme.txt"], [("Cat", ""), ("Dog", "")]),
        (["train/cat.0.jpg", "train/dog.12.jpg"], [("cat", "train"), ("dog", "train")]),
        (["cat.0.jpg", "dog.1.jpg"], [("cat", ""), ("dog", "")]),
        (["a/1.jpg", "a/.DS_Store", "__MACOSX/a/1.jpg", ".git/x.jpg"], [("a", "")]),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_layouts(names: list[str], expected: list[tuple[str, str]], zipped: bool, tmp_path: Path) -> None:
    path = folder(tmp_path / "images", *names)
    if zipped:
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for name in names:
                archive.write(path / name, name)
        path = tmp_path / "images.zip"
    assert [(label, part) for _, label, part in found(path)] == expected
    first = sources.find([path]).files[0]
    assert first.read() == first.name.encode()


def test_a_folder_that_is_called_test_is_the_test_part(tmp_path: Path) -> None:
    assert found(folder(tmp_path / "test", "a/1.jpg")) == [("a/1.jpg", "a", "test")]


def test_an_archive_that_is_called_test_is_the_test_part(tmp_path: Path) -> None:
    assert found(folder(tmp_path / "rps-test-set", "rps-test-set/rock/1.png"))[0][1:] == ("rock", "test")
    assert found(folder(tmp_path / "contest", "latest/1.png"))[0][1:] == ("latest", "")


def test_several_sources_add_up_and_labels_can_be_renamed(tmp_path: Path) -> None:
    paths = [folder(tmp_path / "one", "Cat/1.jpg"), folder(tmp_path / "two", "cat/2.jpg")]
    assert [file.label for file in sources.find(paths, str.lower).files] == ["cat", "cat"]


def test_a_changed_file_has_another_stamp(tmp_path: Path) -> None:
    path = folder(tmp_path, "a/1.jpg")
    before = sources.find([path]).files[0].stamp
    (path / "a/1.jpg").write_bytes(b"longer than before")
    assert sources.find([path]).files[0].stamp != before


def test_names_in_a_list_beside_the_archive_are_the_test_of_that_archive(tmp_path: Path) -> None:
    for name in ("pets", "others"):
        folder(tmp_path / name, "a/1.jpg", "b/2.jpg", "b/3.jpg")
    (tmp_path / "pets.test.txt").write_bytes("\ufeffa/1.jpg\r\n\r\n.\\b\\2.jpg\r\n".encode())
    files = sources.find([tmp_path / "pets", tmp_path / "others"]).files
    assert [(file.name, file.listed) for file in files if file.part == "test"] == [("a/1.jpg", True), ("b/2.jpg", True)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"a/1.jpg\na/9.jpg\n", r"names 1 of 2 files .* \(a/9\.jpg\)"), (b"\xe9t\xe9", "not UTF-8 text")],
)
def test_a_test_list_that_can_not_be_followed_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    folder(tmp_path / "pets", "a/1.jpg", "b/2.jpg")
    (tmp_path / "pets.test.txt").write_bytes(content)
    with pytest.raises(TrainingError, match=problem):
        sources.find([tmp_path / "pets"])


def test_what_is_no_source_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing at"):
        sources.find([tmp_path / "missing"])
    with pytest.raises(TrainingError, match="no images in class folders"):
        sources.find([folder(tmp_path / "flat", "1.jpg", "2.jpg")])
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04...")
    with pytest.raises(TrainingError, match="zip archive"):
        sources.find([tmp_path / "broken.zip"])


def test_links_are_followed_but_not_back_up(tmp_path: Path) -> None:
    folder(tmp_path / "elsewhere", "1.jpg", "more/2.jpg")
    photos = folder(tmp_path / "photos", "dog/3.jpg")
    (photos / "cat").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (photos / "dog" / "back").symlink_to(photos, target_is_directory=True)
    (photos / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(photos / "dog" / "pipe")  # reading it would wait for ever
    assert found(photos) == [
        ("cat/1.jpg", "cat", ""),
        ("cat/more/2.jpg", "cat", ""),
        ("dog/3.jpg", "dog", ""),
        ("dog/gone.jpg", "dog", ""),
    ]


def test_what_systems_leave_beside_files_is_no_class(tmp_path: Path) -> None:
    left = ("__MACOSX/a/._1.jpg", ".ipynb_checkpoints/x.jpg", "@eaDir/1.jpg", "b/.DS_Store", "lost+found/x")
    source = sources.find([folder(tmp_path / "photos", "a/1.jpg", "b/2.jpg", *left)])
    assert [(file.name, file.label) for file in source.files] == [("a/1.jpg", "a"), ("b/2.jpg", "b")]
    assert (source.empty, source.outside) == ([], [])


def test_names_may_have_spaces_and_any_letters_but_a_class_needs_text(tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos", "r\u00f6te rosen/a b.JPG", "\u732b/1.jpg")
    (photos / "\u732b" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    folder(photos, "re\u0301sume\u0301/1.jpg")  # as macOS writes accents
    names = {file.name: file.label for file in sources.find([photos]).files}
    assert set(names.values()) == {"r\u00f6te rosen", "\u732b", "r\u00e9sum\u00e9"}
    assert "\u732b/caf\ufffd.jpg" in names
    (photos / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(TrainingError, match="not UTF-8 text; rename it"):
        sources.find([photos])


def test_empty_class_folders_are_told_from_folders_and_archives(tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos", "cat/1.jpg", "dog/2.jpg", "eel/.DS_Store")
    assert sources.find([photos]).empty == [("eel", f"{photos}/eel")]
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.mkdir("photos/eel")
        archive.writestr("photos/cat/1.jpg", b"1")
        archive.writestr("photos\\dog\\2.jpg", b"2")  # as some archivers of Windows write it
    zipped = sources.find([tmp_path / "photos.zip"])
    assert [label for label, _ in zipped.empty] == ["eel"]
    assert [file.label for file in zipped.files] == ["cat", "dog"]


def test_images_outside_of_class_folders_are_told_and_notes_are_not(tmp_path: Path) -> None:
    names = ("title.png", "README.md", "labels.csv", "a/1.jpg", "b/2.jpg")
    assert sources.find([folder(tmp_path / "photos", *names)]).outside == ["title.png"]


def test_an_encrypted_archive_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/1.jpg", b"1")
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1  # the flag in its entry of the directory
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="is encrypted"):
        sources.find([path])


def test_an_archive_of_archives_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"another archive, test\.zip"):
        sources.find([folder(tmp_path / "kaggle", "train.zip", "test.zip")])


def test_a_folder_that_can_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = folder(tmp_path / "photos", "cat/1.jpg", "dog/2.jpg")
    scandir = os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(sources.os, "scandir", refuse)
    with pytest.raises(TrainingError, match=r"photos can't be read: Permission denied \(.*photos/dog\)"):
        sources.find([photos])
