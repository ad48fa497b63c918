"""The copy follows the bucket, and nothing that goes wrong there changes what is served."""

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from obstore.store import LocalStore

from service import store
from service.config.config_source import ConfigSource
from service.config.model_config import Specific
from service.errors import SettingsError, StoreError
from service.objects import bucket
from service.objects.bucket import Bucket, Forbidden, Object
from service.objects.mirror import cache, view
from service.objects.mirror import mirror as mirror_module
from service.objects.mirror.configs import Source, Wanted
from service.objects.mirror.mirror import Look, Mirror
from service.objects.urls import Url
from tests.buckets import WHOLE, Buckets, offer

STORE = "s3://bucket/models"
URL = Url("s3", "bucket", "models")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What two looks have seen is quiet, and what one has seen in the copy is ripe."""
    monkeypatch.setattr(view, "QUIET_S", 0.0)
    monkeypatch.setattr(mirror_module, "_RIPE_S", 0.0)


@pytest.fixture
def buckets(tmp_path: Path) -> Buckets:
    found = Buckets(tmp_path / "buckets")
    found.put(f"{STORE}/a/1")
    return found


@pytest.fixture
def service(tmp_path: Path) -> Path:
    folder = tmp_path / "service"
    folder.mkdir()
    return folder


@pytest.fixture
def mirror(tmp_path: Path, buckets: Buckets, service: Path) -> Mirror:
    return Mirror(Source(tmp_path / "copy", URL), service, reach=buckets.reach)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO")
    return caplog


def settle(mirror: Mirror) -> Look:
    for _ in range(5):
        look = mirror.look()
        if look.settled:
            return look
    raise AssertionError(look)


def shown(mirror: Mirror, model: str = "a") -> dict[int, dict[str, bytes]]:
    """What an engine sees: versions and their files."""
    folder = mirror.cache.root / model
    versions = store.versions(folder) if folder.is_dir() else {}
    return {
        number: {
            str(path.relative_to(version)): path.read_bytes()
            for path in sorted(version.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }
        for number, version in versions.items()
    }


def test_a_version_is_copied_whole_once_two_looks_agree(mirror: Mirror, buckets: Buckets) -> None:
    assert mirror.look() == Look(changing=True)
    assert shown(mirror) == {}
    assert settle(mirror).settled
    assert shown(mirror) == {1: WHOLE}
    buckets.put(f"{STORE}/a/1", {"late": b""})  # and is not looked at again file by file
    buckets.put(f"{STORE}/b/00000003")
    assert settle(mirror).settled
    assert list(shown(mirror, "b")) == [3]
    assert (mirror.cache.root / "b" / "00000003").is_dir()


def test_what_is_half_uploaded_is_left_alone_and_told(
    mirror: Mirror, buckets: Buckets, log: pytest.LogCaptureFixture
) -> None:
    settle(mirror)
    parts = dict(WHOLE)
    pb = parts.pop("saved_model.pb")
    for name, content in parts.items():
        buckets.put(f"{STORE}/a/2", {name: content})
        mirror.look()
    for _ in range(3):
        assert mirror.look().settled
    assert list(shown(mirror)) == [1]
    assert log.text.count(f"{STORE}/a/2 has no saved_model.pb and is skipped; is it still being uploaded?") == 1
    buckets.put(f"{STORE}/a/2", {"saved_model.pb": pb})
    settle(mirror)
    assert shown(mirror)[2] == WHOLE


def test_a_version_that_still_changes_is_left_alone(mirror: Mirror, buckets: Buckets) -> None:
    settle(mirror)
    for count in range(4):
        buckets.put(f"{STORE}/a/2", {**WHOLE, "assets/words": b"x" * count})
        assert mirror.look().changing
    assert list(shown(mirror)) == [1]
    settle(mirror)
    assert shown(mirror)[2]["assets/words"] == b"xxx"


def test_only_versions_that_the_policy_wants_are_copied(mirror: Mirror, buckets: Buckets) -> None:
    for number in range(2, 6):
        buckets.put(f"{STORE}/a/{number}")
    buckets.put(f"{STORE}/b/1")
    buckets.put(f"{STORE}/b/7")
    config = (
        "model_config_list { config { name: 'a' base_path: 'a' model_version_policy { specific { versions: 2 } } "
        "version_labels { key: 'stable' value: 4 } } }"
    )
    buckets.put(STORE, {"models.config": config.encode(), "batching.config": b"max_batch_size { value: 8 }"})
    settle(mirror)
    assert list(shown(mirror)) == [2, 4]
    assert shown(mirror, "b") == {}
    (model,) = ConfigSource(mirror.cache.root).read()
    assert model.policy == Specific(frozenset({2}))
    assert model.base_path == mirror.cache.root / "a"
    assert (mirror.cache.root / "batching.config").read_text() == "max_batch_size { value: 8 }"


def test_old_versions_leave_the_copy_once_no_engine_has_them(mirror: Mirror, buckets: Buckets, service: Path) -> None:
    settle(mirror)
    offer(service, a=[1])
    buckets.put(f"{STORE}/a/2")
    settle(mirror)
    assert list(shown(mirror)) == [1, 2]
    offer(service, a=[1, 2])
    settle(mirror)
    assert list(shown(mirror)) == [1, 2]
    offer(service, a=[2])
    settle(mirror)
    assert list(shown(mirror)) == [2]


def test_a_version_that_left_the_bucket_is_served_until_another_can_take_over(
    mirror: Mirror, buckets: Buckets, service: Path
) -> None:
    buckets.put(f"{STORE}/a/2")
    settle(mirror)
    offer(service, a=[2])
    shutil.rmtree(buckets.place(f"{STORE}/a/2"))
    settle(mirror)
    settle(mirror)
    assert list(shown(mirror)) == [1]  # which the engines load, as they see no other
    assert list(mirror.cache.copies(mirror.cache.root / "a")) == [2, 1]
    offer(service, failed=[1], a=[2])  # it can't be loaded: the one before comes back for who starts meanwhile
    mirror.look()
    assert list(shown(mirror)) == [1, 2]
    offer(service, a=[1])
    settle(mirror)
    assert list(mirror.cache.copies(mirror.cache.root / "a")) == [1]


def test_where_the_latest_can_not_be_loaded_the_one_before_is_fetched(
    mirror: Mirror, buckets: Buckets, service: Path
) -> None:
    buckets.put(f"{STORE}/a/2")
    settle(mirror)
    assert list(shown(mirror)) == [2]
    offer(service, failed=[2], a=[])
    settle(mirror)
    assert list(shown(mirror)) == [1, 2]


def test_an_emptied_bucket_takes_nothing_away(mirror: Mirror, buckets: Buckets, service: Path) -> None:
    settle(mirror)
    offer(service, a=[1])
    shutil.rmtree(buckets.place(STORE))
    for _ in range(3):
        with pytest.raises(StoreError, match="no longer contains a model; what was copied stays in service"):
            mirror.look()
    assert shown(mirror) == {1: WHOLE}


def test_an_error_changes_nothing_and_is_told_once(
    mirror: Mirror, buckets: Buckets, log: pytest.LogCaptureFixture
) -> None:
    settle(mirror)
    buckets.put(f"{STORE}/a/2")
    unreachable = Mirror(Source(mirror.cache.root, URL), reach=buckets.reach)
    buckets.broken[STORE] = Forbidden("s3://bucket is refused (AccessDenied); check the credentials.")
    for _ in range(3):
        with pytest.raises(Forbidden) as raised:
            unreachable.look()
        unreachable.fail(raised.value)
    assert shown(mirror) == {1: WHOLE}
    assert unreachable.has_copy
    assert log.text.count("check the credentials") == 1
    buckets.broken.clear()
    settle(unreachable)
    assert log.text.count("has recovered") == 1
    assert 2 in shown(mirror)


class Cut(Bucket):
    """Breaks off in one object."""

    def chunks(self, name: str, known: Object) -> Iterator[bytes]:
        for chunk in super().chunks(name, known):
            yield chunk[: len(chunk) // 2]
            if name.endswith("saved_model.pb"):
                raise StoreError(f"{self.url.below(name)} broke off.")
            yield chunk[len(chunk) // 2 :]


def test_an_object_that_breaks_off_leaves_nothing(
    tmp_path: Path, buckets: Buckets, log: pytest.LogCaptureFixture
) -> None:
    def reach(url: Url) -> Bucket:
        return Cut(url, LocalStore(prefix=buckets.place(str(url)))) if is_cut else buckets.reach(url)

    is_cut = True
    mirror = Mirror(Source(tmp_path / "copy", URL), reach=reach)
    for _ in range(3):
        assert not mirror.look().settled
    assert not (mirror.cache.root / "a").exists()
    assert log.text.count("a/1/saved_model.pb broke off.") == 1
    is_cut = False
    other = Mirror(Source(tmp_path / "copy", URL), reach=reach)
    settle(other)
    assert shown(other) == {1: WHOLE}


def test_an_object_that_is_replaced_between_list_and_get_is_not_taken(tmp_path: Path, buckets: Buckets) -> None:
    class Late(Bucket):
        def chunks(self, name: str, known: Object) -> Iterator[bytes]:
            if name.endswith("saved_model.pb") and not replaced:
                buckets.put(f"{STORE}/a/1", {"saved_model.pb": b"other"})
                replaced.append(name)
            return super().chunks(name, known)

    replaced: list[str] = []
    mirror = Mirror(
        Source(tmp_path / "copy", URL), reach=lambda url: Late(url, LocalStore(prefix=buckets.place(str(url))))
    )
    mirror.look()
    failed = mirror.look()
    assert "saved_model.pb was replaced in the meantime" in failed.failure
    assert shown(mirror) == {}
    settle(mirror)
    assert shown(mirror)[1]["saved_model.pb"] == b"other"


def test_a_version_that_serves_is_not_replaced_and_one_that_failed_is(
    mirror: Mirror, buckets: Buckets, service: Path, log: pytest.LogCaptureFixture
) -> None:
    settle(mirror)
    offer(service, a=[1])
    buckets.put(f"{STORE}/a/1", {"saved_model.pb": b"other"})
    for _ in range(3):
        mirror.look()
    assert shown(mirror) == {1: WHOLE}
    assert log.text.count("publish the change under another number") == 1
    offer(service, failed=[1], a=[])
    settle(mirror)
    assert shown(mirror)[1]["saved_model.pb"] == b"other"


def test_a_full_disk_keeps_the_old_version_and_leaves_nothing_behind(
    mirror: Mirror, buckets: Buckets, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    settle(mirror)
    buckets.put(f"{STORE}/a/2")
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _path: usage(100, 100, 0))
        for _ in range(3):
            mirror.look()
        assert log.text.count("has no room for version 2") == 1

        def no_space(_descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        full.setattr(shutil, "disk_usage", lambda _path: usage(10**12, 0, 10**12))
        full.setattr(os, "fsync", no_space)
        for _ in range(3):
            assert "can't be written: No space left on device" in mirror.look().failure
    assert [path.name for path in (mirror.cache.root / "a").iterdir()] == ["1"]
    settle(mirror)
    assert list(shown(mirror)) == [1, 2]


def test_a_roll_back_is_in_place_only_when_its_version_is(mirror: Mirror, buckets: Buckets, service: Path) -> None:
    policy = "model_version_policy {{ specific {{ versions: {} }} }}"
    text = f"model_config_list {{{{ config {{{{ name: 'a' base_path: 'a' {policy} }}}} }}}}"
    buckets.put(f"{STORE}/a/2")
    buckets.put(STORE, {"models.config": text.format(2).encode()})
    settle(mirror)
    offer(service, a=[2])
    before = (mirror.cache.root / "models.config").read_text()
    buckets.put(STORE, {"models.config": text.format(1).encode()})
    cut = Mirror(
        Source(mirror.cache.root, URL), service, reach=lambda url: Cut(url, LocalStore(prefix=buckets.place(str(url))))
    )
    for _ in range(3):
        cut.look()
    assert (mirror.cache.root / "models.config").read_text() == before
    settle(mirror)
    assert "versions: 1" in (mirror.cache.root / "models.config").read_text()
    assert 1 in shown(mirror)


def test_a_version_that_engines_still_leave_alone_takes_nothing_over(
    mirror: Mirror, buckets: Buckets, service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that has just been copied is young; the engines would be left without any."""
    policy = "model_version_policy { specific { versions: 1 } }"
    buckets.put(f"{STORE}/a/2")
    settle(mirror)
    offer(service, a=[2])
    settle(mirror)
    monkeypatch.setattr(view, "QUIET_S", 1000.0)
    buckets.put(
        STORE, {"models.config": f"model_config_list {{ config {{ name: 'a' base_path: 'a' {policy} }} }}".encode()}
    )
    for _ in range(3):
        assert not mirror.look().complete
    assert list(shown(mirror)) == [2]
    assert not (mirror.cache.root / "models.config").exists()
    monkeypatch.setattr(view, "QUIET_S", 0.0)
    monkeypatch.setattr(mirror_module, "_RIPE_S", 1000.0)
    for _ in range(3):
        assert not mirror.look().complete
    assert list(shown(mirror)) == [1, 2]
    assert not (mirror.cache.root / "models.config").exists()
    monkeypatch.setattr(mirror_module, "_RIPE_S", 0.0)
    settle(mirror)
    assert "versions: 1" in (mirror.cache.root / "models.config").read_text()


def test_a_configuration_with_an_error_changes_nothing(
    mirror: Mirror, buckets: Buckets, log: pytest.LogCaptureFixture
) -> None:
    good = b"model_config_list { config { name: 'a' base_path: 'a' } }"
    buckets.put(STORE, {"models.config": good})
    settle(mirror)
    before = (mirror.cache.root / "models.config").read_text()
    buckets.put(STORE, {"models.config": b"model_config_list { config { nam: 'a' } }"})
    buckets.put(f"{STORE}/a/2")
    for _ in range(3):
        mirror.look()
    assert (mirror.cache.root / "models.config").read_text() == before
    assert list(shown(mirror)) == [1, 2]  # what it named is still followed
    assert (
        log.text.count("Error parsing text-format tensorflow.serving.ModelServerConfig: s3://bucket/models/models.c")
        == 1
    )
    fresh = Mirror(Source(mirror.cache.root.with_name("other"), URL), reach=buckets.reach)
    with pytest.raises(SettingsError, match="Error parsing"):
        fresh.look()


def test_models_lie_in_several_buckets(tmp_path: Path, buckets: Buckets, log: pytest.LogCaptureFixture) -> None:
    buckets.put("gs://elsewhere/x/3")
    config = tmp_path / "models.config"
    config.write_text(
        "model_config_list { config { name: 'a' base_path: 's3://bucket/models/a' } "
        "config { name: 'x' base_path: 'gs://elsewhere/x' } config { name: 'here' base_path: 'here' } }"
    )
    mirror = Mirror(Source(tmp_path / "copy", config=config), reach=buckets.reach)
    settle(mirror)
    configs = {each.name: each for each in ConfigSource(tmp_path, mirror.cache.root / "models.config").read()}
    assert list(store.versions(configs["a"].base_path)) == [1]
    assert list(store.versions(configs["x"].base_path)) == [3]
    assert configs["here"].base_path == tmp_path / "here"
    # One of the buckets is away: the other is followed.
    buckets.put(f"{STORE}/a/2")
    buckets.broken["gs://elsewhere/x"] = StoreError("gs://elsewhere can't be reached: no connection.")
    second = Mirror(Source(tmp_path / "copy", config=config), reach=buckets.reach)
    for _ in range(3):
        second.look()
    assert list(store.versions(configs["a"].base_path)) == [1, 2]
    assert list(store.versions(configs["x"].base_path)) == [3]
    assert log.text.count("no connection") == 1


def test_one_model_by_its_base_path(tmp_path: Path, buckets: Buckets) -> None:
    root = tmp_path / "copy"
    source = Source(root, base=Wanted("m", Url("s3", "bucket", "models/a"), root))
    mirror = Mirror(source, reach=buckets.reach)
    settle(mirror)
    assert list(store.versions(root)) == [1]


def test_a_base_path_that_is_a_saved_model_is_version_1(tmp_path: Path, buckets: Buckets) -> None:
    buckets.put("s3://bucket/one")
    root = tmp_path / "copy"
    mirror = Mirror(Source(root, base=Wanted("m", Url("s3", "bucket", "one"), root)), reach=buckets.reach)
    settle(mirror)
    assert (root / "1" / "saved_model.pb").read_bytes() == WHOLE["saved_model.pb"]


def test_two_services_share_a_copy(
    tmp_path: Path, buckets: Buckets, mirror: Mirror, service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_service = tmp_path / "second"
    second_service.mkdir()
    second = Mirror(Source(mirror.cache.root, URL), second_service, reach=buckets.reach)
    settle(mirror)
    fetched: list[str] = []
    monkeypatch.setattr(Bucket, "chunks", lambda _self, name, _known: fetched.append(name))
    assert second.look().settled  # everything is there already
    assert fetched == []
    monkeypatch.undo()
    monkeypatch.setattr(view, "QUIET_S", 0.0)
    monkeypatch.setattr(mirror_module, "_RIPE_S", 0.0)
    offer(service, a=[1])
    offer(second_service, a=[1])
    buckets.put(f"{STORE}/a/2")
    settle(mirror)
    settle(second)
    offer(service, a=[2])
    for _ in range(3):
        mirror.look()
    assert list(shown(mirror)) == [1, 2], "the other service still has the first"
    offer(second_service, a=[2])
    settle(second)
    settle(mirror)
    assert list(shown(mirror)) == [2]


def test_who_has_not_the_lock_waits(mirror: Mirror) -> None:
    mirror.look()
    with cache.Cache(mirror.cache.root).locked() as has_lock:
        assert has_lock
        assert not mirror.look().complete
        assert shown(mirror) == {}
    settle(mirror)
    assert list(shown(mirror)) == [1]


def test_what_a_killed_mirror_left_is_cleaned_up(mirror: Mirror) -> None:
    left = mirror.cache.root / "a" / ".partial-1"
    left.mkdir(parents=True)
    (left / "saved_model.pb").write_bytes(b"gra")
    settle(mirror)
    assert [path.name for path in (mirror.cache.root / "a").iterdir()] == ["1"]
    (mirror.cache.root / "a" / "1" / "saved_model.pb").write_bytes(b"cut")  # as no crash of ours leaves it
    settle(mirror)
    assert shown(mirror) == {1: WHOLE}


def test_a_model_that_left_the_configuration_goes_when_the_engines_have_let_go(
    mirror: Mirror, buckets: Buckets, service: Path
) -> None:
    buckets.put(f"{STORE}/b/1")
    both = b"model_config_list { config { name: 'a' base_path: 'a' } config { name: 'b' base_path: 'b' } }"
    buckets.put(STORE, {"models.config": both})
    settle(mirror)
    offer(service, a=[1], b=[1])
    buckets.put(STORE, {"models.config": b"model_config_list { config { name: 'a' base_path: 'a' } }"})
    settle(mirror)
    settle(mirror)
    assert list(shown(mirror, "b")) == [1]
    offer(service, a=[1])
    settle(mirror)
    assert not (mirror.cache.root / "b").exists()


def test_what_a_client_has_put_in_place_is_copied_too(mirror: Mirror, buckets: Buckets, service: Path) -> None:
    buckets.put(f"{STORE}/a/2")
    settle(mirror)
    offer(service, a=[2])
    (service / "models.config").write_text(
        "model_config_list { config { name: 'a' base_path: 'a' model_version_policy { specific { versions: 1 } } } }"
    )
    settle(mirror)
    assert list(shown(mirror)) == [1, 2]


def test_a_bucket_of_everything_is_refused(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "MOST_OBJECTS", 2)
    with pytest.raises(StoreError, match="contains more than 2 objects; name the folder of the models in it"):
        mirror.look()
