"""Addresses in object storage."""

from pathlib import Path

import pytest

from service.errors import SettingsError
from service.objects.urls import Url, is_url, parse, written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket", Url("s3", "bucket")),
        ("s3://bucket/", Url("s3", "bucket")),
        ("gs://bucket/some/models/", Url("gs", "bucket", "some/models")),
        ("S3://bucket/models", Url("s3", "bucket", "models")),
        ("az://container/a b", Url("az", "container", "a b")),
    ],
)
def test_an_address_is_read_as_text_and_as_a_path(text: str, expected: Url) -> None:
    assert parse(text, "--store") == expected
    assert parse(Path(text), "--store") == expected
    assert is_url(Path(text))
    assert parse(str(expected), "--store") == expected


@pytest.mark.parametrize("text", ["model_store", "/models", ".", "a:b/c", "C:/models", ""])
def test_a_folder_is_no_address(text: str) -> None:
    assert parse(text, "--store") is None
    assert not is_url(text)
    assert written(Path(text or ".")) == (text or ".")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ftp://host/models", "--store takes a folder or an address starting with s3://, gs://, az://, not ftp://"),
        ("hdfs://host/models", "not hdfs://"),
        ("s3://", "lacks a bucket; write s3://BUCKET/PREFIX"),
        ("s3:///models/..", "are names"),
    ],
)
def test_what_is_wrong_with_an_address_is_told(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        parse(Path(text), "--store")


def test_addresses_lie_below_each_other() -> None:
    url = Url("s3", "bucket", "models")
    assert str(url.below("a/1")) == "s3://bucket/models/a/1"
    assert url.below("a").parent == url
    assert str(Url("s3", "bucket").below("a")) == "s3://bucket/a"
    assert Url("s3", "bucket", "a").parent == Url("s3", "bucket")
    assert url.name == "models"
    assert written(Path("s3://bucket/models") / "a" / "1") == "s3://bucket/models/a/1"
