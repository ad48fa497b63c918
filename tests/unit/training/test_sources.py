"""The layouts in which people keep labelled images."""

import zipfile
from pathlib import Path

import pytest

from training import sources
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
    [(b"a/1.jpg\na/9.jpg\n", r"names 1 of 2 files .* \(a/9\.jpg\)"), (b"\xe9t\xe9", "not text in UTF-8")],
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
