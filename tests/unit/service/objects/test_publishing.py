"""Versions written to a bucket."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from service.errors import StoreError
from service.objects import publishing
from service.objects.bucket import Bucket
from service.objects.listing import models
from service.objects.urls import Url
from tests.buckets import WHOLE, Buckets

URL = Url("s3", "bucket", "models")


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    return Buckets(tmp_path / "buckets")


@pytest.fixture
def version(tmp_path: Path) -> Path:
    for name, content in WHOLE.items():
        path = tmp_path / "version" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "version"


class Noting(Bucket):
    """Notes what is written, in order, and fails where it is told to."""

    noted: list[str]
    fails_at = ""

    def put(self, name: str, content: Any, **how: Any) -> None:
        self.noted.append(name)
        if self.fails_at and name.endswith(self.fails_at):
            raise StoreError("The bucket is away.")
        super().put(name, content, **how)


def noting(buckets: Buckets, fails_at: str = "") -> Noting:
    made = Noting(URL, buckets.reach(URL)._store)
    made.noted, made.fails_at = [], fails_at
    return made


def test_the_saved_model_comes_last_and_until_then_nothing_is_a_version(buckets: Buckets, version: Path) -> None:
    bucket = noting(buckets)
    assert publishing.upload(bucket, "m", version) == 1
    assert bucket.noted[0] == "m/1/.publishing"
    assert bucket.noted[-1] == "m/1/saved_model.pb"
    assert not buckets.place(f"{URL}/m/1/.publishing").exists()
    assert publishing.upload(bucket, "m", version) == 2
    found = models(buckets.reach(URL).objects())["m"]
    assert list(found.versions) == [1, 2]
    assert set(found.versions[2].files) == set(WHOLE)


@pytest.mark.parametrize("fails_at", ["saved_model.pb", "variables.index"])
def test_a_publisher_that_fails_leaves_no_version(buckets: Buckets, version: Path, fails_at: str) -> None:
    with pytest.raises(StoreError, match="is away"):
        publishing.upload(noting(buckets, fails_at), "m", version)
    assert models(buckets.reach(URL).objects()) == {}
    assert publishing.upload(noting(buckets), "m", version) == 1


def test_the_number_of_a_publisher_that_was_killed_stays_unused(buckets: Buckets, version: Path) -> None:
    buckets.put(f"{URL}/m/1", {".publishing": b"", "variables/variables.index": b""})
    assert publishing.upload(noting(buckets), "m", version) == 2


def test_publishers_at_the_same_time_get_numbers_of_their_own(buckets: Buckets, version: Path) -> None:
    numbers: list[int] = []
    publishers = [
        threading.Thread(target=lambda: numbers.append(publishing.upload(buckets.reach(URL), "m", version)))
        for _ in range(4)
    ]
    for each in publishers:
        each.start()
    for each in publishers:
        each.join(60)
    assert sorted(numbers) == [1, 2, 3, 4]


def test_a_version_stops_being_one_before_the_rest_of_it_goes(buckets: Buckets, version: Path) -> None:
    class Deleting(Noting):
        def delete(self, names: Sequence[str]) -> None:
            self.noted += names

    bucket = Deleting(URL, buckets.reach(URL)._store)
    bucket.noted = []
    publishing.upload(noting(buckets), "m", version)
    publishing.delete(bucket, "m/1", models(buckets.reach(URL).objects())["m"].versions[1].files)
    assert bucket.noted[0] == "m/1/saved_model.pb"
    assert len(bucket.noted) == len(WHOLE)


def test_a_folder_is_published_in_as_before(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "saved_model.pb").touch()

    assert publishing.publish(tmp_path / "store", "m", write) == 1
    assert (tmp_path / "store" / "m" / "1" / "saved_model.pb").is_file()
