"""The store: what is a version, and how one is published."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service import store
from service.errors import StoreError


def put(version: Path, content: bytes = b"graph") -> Path:
    version.mkdir(parents=True)
    (version / store.SAVED_MODEL).write_bytes(content)
    return version


def write(content: bytes = b"graph") -> Callable[[Path], None]:
    return lambda folder: (folder / store.SAVED_MODEL).write_bytes(content) and None


def test_versions_are_numbers_in_their_order(tmp_path: Path) -> None:
    for number in ("10", "9", "1", "0", "20260101120000"):
        put(tmp_path / number)
    assert store.versions(tmp_path) == [0, 1, 9, 10, 20260101120000]


NO_VERSIONS = ("01", "+1", "-1", "1.0", " 1", "1 ", "1_0", "v1", "latest", ".1", ".tmp-1", "00", "\u00b2", "\u0661")


@pytest.mark.parametrize("name", NO_VERSIONS)
def test_a_folder_whose_name_is_no_plain_integer_is_no_version(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    assert store.versions(tmp_path) == []
    assert store.incomplete(tmp_path) == []


def test_a_folder_without_a_saved_model_is_incomplete_and_no_version(tmp_path: Path) -> None:
    put(tmp_path / "1")
    (tmp_path / "2" / "variables").mkdir(parents=True)
    (tmp_path / "3" / store.SAVED_MODEL).mkdir(parents=True)  # a folder of that name
    (tmp_path / "notes").mkdir()
    assert store.versions(tmp_path) == [1]
    assert store.incomplete(tmp_path) == [tmp_path / "2", tmp_path / "3"]


def test_a_file_named_like_a_version_is_none(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("")
    assert store.versions(tmp_path) == []
    assert store.incomplete(tmp_path) == []


def test_models_are_folders_with_a_version(tmp_path: Path) -> None:
    put(tmp_path / "b" / "1")
    put(tmp_path / "a" / "3")
    put(tmp_path / ".hidden" / "1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "models.config").write_text("")
    assert store.models(tmp_path) == {"a": tmp_path / "a", "b": tmp_path / "b"}
    assert list(store.models(tmp_path)) == ["a", "b"]


def test_a_version_behind_a_link_counts(tmp_path: Path) -> None:
    real = put(tmp_path / "elsewhere" / "x")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "1").symlink_to(real)
    (tmp_path / "m" / "2").symlink_to(tmp_path / "gone")
    assert store.versions(tmp_path / "m") == [1]


@pytest.mark.parametrize("look", [store.models, store.versions, store.incomplete])
def test_a_folder_that_is_missing_is_an_error_and_not_empty(tmp_path: Path, look: Callable[[Path], object]) -> None:
    with pytest.raises(StoreError, match=r"gone can't be read: No such file"):
        look(tmp_path / "gone")


def test_check_tells_what_is_wrong(tmp_path: Path) -> None:
    store.check(tmp_path)
    with pytest.raises(StoreError, match=r"no store at .*gone; name an existing folder"):
        store.check(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"is a file; --store takes the folder"):
        store.check(tmp_path / "file")


def test_check_tells_what_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(StoreError, match=r"can't be read: Permission denied"):
        store.check(tmp_path)


def test_check_tells_of_a_folder_above_that_can_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(StoreError, match=r"can't be read: Permission denied"):
        store.check(tmp_path)


def test_a_folder_that_can_not_be_read_hides_no_model_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the `lost+found` of every freshly mounted disk."""
    put(tmp_path / "m" / "1")
    (tmp_path / "lost+found").mkdir()
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert list(store.models(tmp_path)) == ["m"]


def test_a_version_that_can_not_be_entered_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "1")
    put(tmp_path / "2")
    is_file = Path.is_file

    def refuse(path: Path) -> bool:
        if path.parent.name == "2":
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    assert store.versions(tmp_path) == [1]
    assert store.incomplete(tmp_path) == [tmp_path / "2"]


def test_a_path_that_goes_through_a_file_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        store.check(tmp_path / "file" / "store")


def test_the_first_version_is_1_and_the_next_is_one_higher(tmp_path: Path) -> None:
    assert [store.publish(tmp_path / "new" / "store", "m", write(b"%d" % n)) for n in range(3)] == [1, 2, 3]
    assert (tmp_path / "new" / "store" / "m" / "2" / store.SAVED_MODEL).read_bytes() == b"1"
    assert sorted(path.name for path in (tmp_path / "new" / "store" / "m").iterdir()) == ["1", "2", "3"]


def test_the_next_version_is_above_the_highest_even_over_gaps_and_broken_ones(tmp_path: Path) -> None:
    put(tmp_path / "m" / "1")
    put(tmp_path / "m" / "7")
    (tmp_path / "m" / "9" / "variables").mkdir(parents=True)
    assert store.publish(tmp_path, "m", write()) == 10


def test_an_empty_folder_is_not_taken_for_a_version(tmp_path: Path) -> None:
    (tmp_path / "m" / "4").mkdir(parents=True)
    assert store.publish(tmp_path, "m", write()) == 5


def test_many_publishers_at_once_each_get_a_number_of_their_own(tmp_path: Path) -> None:
    gate = threading.Barrier(8)

    def publish(who: int) -> list[int]:
        gate.wait(20)
        return [store.publish(tmp_path, "m", write(b"%d" % who)) for _ in range(6)]

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(publish, range(8)))
    assert sorted(number for each in numbers for number in each) == list(range(1, 49))
    for who, each in enumerate(numbers):
        for number in each:
            assert (tmp_path / "m" / str(number) / store.SAVED_MODEL).read_bytes() == b"%d" % who


def test_nobody_sees_a_version_before_it_is_whole(tmp_path: Path) -> None:
    def look(folder: Path) -> None:
        (folder / store.SAVED_MODEL).write_bytes(b"graph")
        assert store.models(tmp_path) == {}
        assert store.incomplete(tmp_path / "m") == []

    assert store.publish(tmp_path, "m", look) == 1


def test_a_failure_is_passed_on_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / store.SAVED_MODEL).write_bytes(b"half")
        raise ValueError("the disk of the trainer burns")

    with pytest.raises(ValueError, match=r"burns"):
        store.publish(tmp_path, "m", fail)
    assert list((tmp_path / "m").iterdir()) == []


def test_what_is_no_saved_model_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Nothing was published for m: no saved_model.pb"):
        store.publish(tmp_path, "m", lambda folder: (folder / "notes.txt").write_text("x") and None)
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "../m", "a/b", "/m", ".hidden", "a\0b", "a\nb"])
def test_a_name_that_leaves_the_store_or_hides_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"no name for a model"):
        store.publish(tmp_path / "store", name, write())
    assert list(tmp_path.iterdir()) == []


def test_a_published_version_can_be_read_by_others(tmp_path: Path) -> None:
    store.publish(tmp_path, "m", write())
    assert (tmp_path / "m" / "1").stat().st_mode & 0o777 == 0o755


def test_a_store_that_is_a_file_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match=r"can't be written: (Not a directory|File exists)"):
        store.publish(tmp_path / "store", "m", write())


def test_a_read_only_store_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(store.tempfile, "mkdtemp", refuse)
    with pytest.raises(StoreError, match=r"can't be written: Read-only file system"):
        store.publish(tmp_path, "m", write())


def test_a_rename_that_fails_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "rename", refuse)
    with pytest.raises(StoreError, match=r"1 can't be made: No space left"):
        store.publish(tmp_path, "m", write())
    assert list((tmp_path / "m").iterdir()) == []


def test_a_fingerprint_shows_every_change_of_a_file(tmp_path: Path) -> None:
    version = put(tmp_path / "1")
    (version / "variables").mkdir()
    (version / "variables" / "data").write_bytes(b"1234")
    before = store.fingerprint(version)
    assert before == store.fingerprint(version)
    assert set(before) == {"saved_model.pb", "variables", "variables/data"}
    assert before["variables/data"][0] == 4
    os.utime(version / "variables" / "data", (0, 0))  # as copying tools set it back: still a change
    touched = store.fingerprint(version)
    assert touched["variables/data"] != before["variables/data"]
    (version / "more").write_bytes(b"")
    assert store.fingerprint(version) != touched


def test_the_newest_change_is_the_time_of_the_last_file(tmp_path: Path) -> None:
    version = put(tmp_path / "1")
    files = store.fingerprint(version)
    assert store.newest_s(files) == pytest.approx((version / store.SAVED_MODEL).stat().st_ctime)
    assert store.newest_s({"a": (1, 5_000_000_000), "b": (1, 3_000_000_000)}) == 5.0
    assert store.newest_s({}) == 0.0


def test_a_file_that_vanishes_under_a_fingerprint_is_an_error_of_the_store(tmp_path: Path) -> None:
    version = put(tmp_path / "1")
    (version / "dangling").symlink_to(tmp_path / "gone")
    with pytest.raises(StoreError, match=r"can't be read"):
        store.fingerprint(version)
