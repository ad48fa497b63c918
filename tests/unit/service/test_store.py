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
    assert list(store.versions(tmp_path)) == [0, 1, 9, 10, 20260101120000]


def test_leading_zeros_are_part_of_the_folders_name_only(tmp_path: Path) -> None:
    """TF Serving's own example lies in `00000123`."""
    for name in ("00000123", "00", "7"):
        put(tmp_path / name)
    assert store.versions(tmp_path) == {0: tmp_path / "00", 7: tmp_path / "7", 123: tmp_path / "00000123"}


def test_of_two_folders_with_one_number_the_shorter_name_counts_and_the_other_is_told(tmp_path: Path) -> None:
    for name in ("0001", "1", "01"):
        put(tmp_path / name)
    contents = store.look(tmp_path)
    assert contents.versions == {1: tmp_path / "1"}
    assert contents.passed_over.keys() == {tmp_path / "01", tmp_path / "0001"}
    assert "1 is also version 1" in contents.passed_over[tmp_path / "01"]


def test_a_folder_with_that_number_but_no_saved_model_takes_no_ones_place(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    put(tmp_path / "01")
    assert store.versions(tmp_path) == {1: tmp_path / "01"}


def test_the_text_format_is_a_saved_model_too(tmp_path: Path) -> None:
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "saved_model.pbtxt").touch()
    assert list(store.versions(tmp_path)) == [3]


def test_a_number_beyond_int64_is_told_and_not_served(tmp_path: Path) -> None:
    put(tmp_path / str(store.HIGHEST))
    put(tmp_path / str(store.HIGHEST + 1))
    put(tmp_path / "99999999999999999999")
    contents = store.look(tmp_path)
    assert list(contents.versions) == [store.HIGHEST]
    assert len(contents.passed_over) == 2
    assert all("the highest version number is 9223372036854775807" in wrong for wrong in contents.passed_over.values())


NO_VERSIONS = ("+1", "-1", "1.0", " 1", "1 ", "1_0", "v1", "latest", "\u00b2", "\u0661")


@pytest.mark.parametrize("name", NO_VERSIONS)
def test_a_saved_model_in_a_folder_whose_name_is_no_number_is_told(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    contents = store.look(tmp_path)
    assert contents.versions == {}
    assert "named by a whole number" in contents.passed_over[tmp_path / name]
    assert contents.is_model


@pytest.mark.parametrize("name", [".1", ".tmp-1", ".git"])
def test_what_is_hidden_is_nobodys_business(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    assert store.look(tmp_path) == store.Contents()


def test_a_folder_without_a_saved_model_is_no_version_and_told_where_it_bears_a_number(tmp_path: Path) -> None:
    put(tmp_path / "1")
    (tmp_path / "2" / "variables").mkdir(parents=True)
    (tmp_path / "3" / store.SAVED_MODEL).mkdir(parents=True)  # a folder of that name
    put(tmp_path / "4" / "export")
    (tmp_path / "notes").mkdir()
    contents = store.look(tmp_path)
    assert list(contents.versions) == [1]
    assert contents.passed_over == {
        tmp_path / "2": "has no saved_model.pb and is skipped; is it still being copied?",
        tmp_path / "3": "has no saved_model.pb and is skipped; is it still being copied?",
        tmp_path / "4": "has no saved_model.pb and is skipped; 4/export has one: move its content up.",
    }


def test_a_file_named_like_a_version_is_none(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("")
    assert store.look(tmp_path) == store.Contents()


def test_another_name_of_a_version_is_no_second_one(tmp_path: Path) -> None:
    put(tmp_path / "3")
    (tmp_path / "latest").symlink_to("3")
    contents = store.look(tmp_path)
    assert list(contents.versions) == [3]
    assert contents.passed_over == {}


@pytest.mark.parametrize(
    ("at", "told_of", "says"),
    [
        ("m", "m", "contains a SavedModel itself; move its content into a folder named by the version number: m/1."),
        ("m/v2", "m/v2", "named by a whole number"),
        ("m/9223372036854775808", "m/9223372036854775808", "highest version number"),
        ("m/flowers/1", "m/flowers", "is a model itself"),
        ("m/flowers/export", "m/flowers", "which belongs in <model>/<version>/"),
        ("m/1/export", "m/1", "move its content up"),
    ],
)
def test_a_saved_model_at_the_wrong_place_makes_a_model_that_says_so(
    tmp_path: Path, at: str, told_of: str, says: str
) -> None:
    put(tmp_path / at)
    assert store.models(tmp_path) == {}
    contents = store.survey(tmp_path)["m"]
    assert list(contents.passed_over) == [tmp_path / told_of]
    assert says in contents.passed_over[tmp_path / told_of]


def test_a_version_given_for_its_model_is_told(tmp_path: Path) -> None:
    put(tmp_path / "m" / "1")
    contents = store.look(tmp_path / "m" / "1")
    assert contents.passed_over == {tmp_path / "m" / "1": "is a version; the model's folder is the one above it, m."}


@pytest.mark.parametrize(
    ("name", "version"), [("models", 1), ("m", 1), ("3", 3), ("0", 0), ("9223372036854775808", 1), ("v2", 1)]
)
def test_a_base_path_that_is_itself_a_saved_model_is_a_version(tmp_path: Path, name: str, version: int) -> None:
    """As where an object store's URI is one level too deep."""
    put(tmp_path / name)
    (tmp_path / name / "assets").mkdir()
    assert store.look(tmp_path / name, itself=True) == store.Contents({version: tmp_path / name}, {}, is_model=True)


def test_beside_a_version_a_saved_model_in_the_base_path_is_none(tmp_path: Path) -> None:
    put(tmp_path / "m")
    put(tmp_path / "m" / "7")
    contents = store.look(tmp_path / "m", itself=True)
    assert contents.versions == {7: tmp_path / "m" / "7"}
    assert list(contents.passed_over) == [tmp_path / "m"]
    assert store.look(tmp_path, itself=True) == store.look(tmp_path), "a store is no base path"


def test_half_a_saved_model_makes_a_model(tmp_path: Path) -> None:
    (tmp_path / "m" / "1" / "variables").mkdir(parents=True)
    assert list(store.survey(tmp_path)) == ["m"]


def test_a_folder_that_has_nothing_to_do_with_saved_models_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "photos" / "2026").mkdir(parents=True)
    (tmp_path / "lost+found").mkdir()
    put(tmp_path / ".hidden" / "1")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").touch()
    assert store.survey(tmp_path) == {}


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
    assert list(store.versions(tmp_path / "m")) == [1]


@pytest.mark.parametrize("look", [store.survey, store.models, store.versions, store.look])
def test_a_folder_that_is_missing_is_an_error_and_not_empty(tmp_path: Path, look: Callable[[Path], object]) -> None:
    with pytest.raises(StoreError, match=r"gone can't be read: No such file"):
        look(tmp_path / "gone")


def test_check_tells_what_is_wrong(tmp_path: Path) -> None:
    store.check(tmp_path)
    with pytest.raises(StoreError, match=r"no store at .*gone; pass an existing folder"):
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
    put(tmp_path / "closed" / "1")
    (tmp_path / "lost+found").mkdir()
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name in ("closed", "lost+found"):
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert list(store.models(tmp_path)) == ["m"]
    found = store.survey(tmp_path)
    assert list(found) == ["closed", "m"]
    assert found["closed"].passed_over == {tmp_path / "closed": "can't be read: Permission denied."}


def test_a_version_that_can_not_be_entered_is_none_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "1")
    put(tmp_path / "2")
    is_file = Path.is_file

    def refuse(path: Path) -> bool:
        if path.parent.name == "2":
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    contents = store.look(tmp_path)
    assert list(contents.versions) == [1]
    assert contents.passed_over == {tmp_path / "2": "is skipped: it can't be read (Permission denied)."}
    assert contents.is_model


def test_a_disk_that_fails_is_an_error_and_takes_no_version_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "1")

    def fail(_: Path) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "is_file", fail)
    with pytest.raises(StoreError, match=r"can't be read: Input/output error"):
        store.versions(tmp_path)


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
    put(tmp_path / "m" / "00000123")
    assert store.publish(tmp_path, "m", write()) == 124


def test_after_the_highest_number_there_is_none(tmp_path: Path) -> None:
    put(tmp_path / "m" / str(store.HIGHEST))
    with pytest.raises(StoreError, match=r"no version number left"):
        store.publish(tmp_path, "m", write())


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
        assert store.survey(tmp_path) == {}

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
    with pytest.raises(StoreError, match=r"not a valid model name"):
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
    with pytest.raises(StoreError, match=r"1 can't be created: No space left"):
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
