"""Kaggle's CSV files in every packing, and every way a row can be bad."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data import sign_mnist
from training.errors import TrainingError

HEADER = "label," + ",".join(f"pixel{n}" for n in range(1, 785))


def row(label: object, value: object = 7) -> str:
    return f"{label}," + ",".join([str(value)] * 784)


def csv(*rows: str) -> bytes:
    return "\n".join([HEADER, *rows, ""]).encode()


TRAIN, TEST = csv(row(0, 1), row(8, 2), row(10, 3), row(24, 255)), csv(row(3, 9))


def in_folder(at: Path) -> list[Path]:
    (at / "deep").mkdir()
    (at / "deep" / "sign_mnist_train.csv").write_bytes(TRAIN)
    (at / "sign_mnist_test.csv").write_bytes(TEST)
    return [at]


def in_zip(at: Path) -> list[Path]:
    with zipfile.ZipFile(at / "data.zip", "w") as archive:
        archive.writestr("sign_mnist_train/sign_mnist_train.csv", TRAIN)
        archive.writestr("sign_mnist_train.csv", TRAIN)  # Kaggle's archive holds it twice
        archive.writestr("sign_mnist_test/sign_mnist_test.csv", TEST)
        archive.writestr("american_sign_language.PNG", b"")
    return [at / "data.zip"]


def as_two_files(at: Path) -> list[Path]:
    in_folder(at)
    return [at / "sign_mnist_test.csv", at / "deep" / "sign_mnist_train.csv"]


def as_gzipped_files(at: Path) -> list[Path]:
    for name, content in (("train", TRAIN), ("test", TEST)):
        (at / f"sign_mnist_{name}.csv.gz").write_bytes(gzip.compress(content))
    return [at / "sign_mnist_train.csv.gz", at / "sign_mnist_test.csv.gz"]


@pytest.mark.parametrize("place", [in_folder, in_zip, as_two_files, as_gzipped_files])
def test_every_form_gives_the_same_images(place: Callable[[Path], list[Path]], tmp_path: Path) -> None:
    data = sign_mnist.load(place(tmp_path))
    assert [data.train.classes[label] for label in data.train.targets()] == ["A", "I", "K", "Y"]
    assert [data.test.classes[label] for label in data.test.targets()] == ["D"]
    assert data.train.shape == (28, 28, 1)
    assert data.train.pixels[:, 5, 6, 0].tolist() == [1, 2, 3, 255]


def quoted(text: str) -> str:
    return "\n".join(",".join(f'"{value}"' for value in line.split(",")) for line in text.splitlines())


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda text: text.replace(",", ";").encode("utf-8-sig"),
        lambda text: text.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace(",", ", ").replace("label", "Label").encode(),
        lambda text: quoted(text).encode(),
        lambda text: quoted(text).replace(",", ";").replace("\n", "\r\n").encode("utf-8-sig"),
    ],
)
def test_a_file_as_spreadsheets_write_it_gives_the_same_images(written: Callable[[str], bytes], tmp_path: Path) -> None:
    text = TRAIN.decode()
    found = sign_mnist.parse("train.csv", written(text))
    assert found.fingerprint() == sign_mnist.parse("train.csv", TRAIN).fingerprint()
    with pytest.raises(TrainingError, match=r"train\.csv, line 5: a value is not an integer"):
        sign_mnist.parse("train.csv", written(text.replace("24,255", "24,x")))
    (tmp_path / "Train.CSV").write_bytes(written(text))
    assert sign_mnist.looks_like([tmp_path])


def test_a_list_of_images_is_not_taken_for_sign_mnist(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\n1.png,cat\n")
    assert not sign_mnist.looks_like([tmp_path])
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        archive.writestr("labels.csv", "file,label\n")
        archive.writestr("__MACOSX/._train.csv", TRAIN)
    assert not sign_mnist.looks_like([tmp_path / "pets.zip"])
    (tmp_path / "again").mkdir()
    assert sign_mnist.looks_like(in_zip(tmp_path / "again"))
    assert sign_mnist.looks_like([tmp_path / "again" / "x.csv.gz"])


def test_pixels_are_in_reading_order() -> None:
    text = csv("0," + ",".join(str(n % 256) for n in range(784)))
    np.testing.assert_array_equal(sign_mnist.parse("x", text).pixels.ravel(), np.arange(784) % 256)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (row(9), "label 9"),
        (row(25), "label 25"),
        (row(-1), "label -1"),
        (row(3, 256), "outside 0 to 255"),
        (row(3, -1), "outside 0 to 255"),
        (row("x"), "not an integer"),
        (row(3, "1.5"), "not an integer"),
        (row(3, 10**30), "not an integer"),
        ("3,4,5", "3 columns"),
        (row(3) + ",1", "786 columns"),
        ("garbage", "1 columns"),
    ],
)
def test_a_bad_row_is_named_by_its_line(bad: str, problem: str) -> None:
    with pytest.raises(TrainingError, match=rf"train\.csv, line 4: .*{problem}"):
        sign_mnist.parse("train.csv", csv(row(1), row(2), bad, row(3)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "header"),
        (b"\x00\x01\x02", "header"),
        (b"<html>", "header"),
        ("label,pixel1".encode("utf-16-le"), "line 1: .* byte-order mark"),
        (HEADER.encode(), "no rows"),
        (HEADER.encode() + b"\n\n", "no rows"),
    ],
)
def test_a_file_that_is_something_else_is_refused(text: bytes, problem: str) -> None:
    with pytest.raises(TrainingError, match=problem):
        sign_mnist.parse("x.csv", text)


def test_paths_that_do_not_hold_both_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing at"):
        sign_mnist.load([tmp_path / "missing"])
    with pytest.raises(TrainingError, match=r"sign_mnist_train\.csv"):
        sign_mnist.load([tmp_path])
    in_folder(tmp_path)
    with pytest.raises(TrainingError, match=r"sign_mnist_train\.csv"):
        sign_mnist.load([tmp_path / "sign_mnist_test.csv"])
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(TrainingError, match="zip archive"):
        sign_mnist.load([tmp_path / "broken.zip"])
    (tmp_path / "sign_mnist_train.csv.gz").write_bytes(gzip.compress(TRAIN)[:-20])
    with pytest.raises(TrainingError, match="complete gzip"):
        sign_mnist.load([tmp_path / "sign_mnist_train.csv.gz"])
