"""What of the settings lies in object storage, and what is refused."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.config.settings import Settings
from service.errors import SettingsError
from service.objects.mirror import cache, configs
from service.objects.urls import Url


def settings(tmp_path: Path, **values: Any) -> Settings:
    return Settings(store_cache=tmp_path / "cache", **values)


def config(tmp_path: Path, base_path: str) -> Path:
    path = tmp_path / "models.config"
    path.write_text(f"model_config_list {{ config {{ name: 'm' base_path: '{base_path}' }} }}")
    return path


def test_a_store_is_copied_into_a_folder_of_its_own(tmp_path: Path) -> None:
    first = configs.from_settings(settings(tmp_path, store=Path("s3://bucket/models")))
    second = configs.from_settings(settings(tmp_path, store=Path("s3://bucket/other")))
    assert first is not None
    assert second is not None
    assert first.store == Url("s3", "bucket", "models")
    assert first.root != second.root
    assert first.root.parent == tmp_path / "cache"
    assert first.root.stat().st_mode & 0o777 == 0o700
    local = configs.localise(settings(tmp_path, store=Path("s3://bucket/models")), first)
    assert local.store == first.root
    assert local.model_config_file is None


def test_the_same_bucket_at_another_endpoint_is_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = []
    for endpoint in ("http://minio:9000", "http://other:9000"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        found = configs.from_settings(settings(tmp_path, store=Path("s3://bucket/models")))
        assert found is not None
        roots.append(found.root)
    assert roots[0] != roots[1]


def test_one_model_and_configurations_may_lie_there_too(tmp_path: Path) -> None:
    one = settings(tmp_path, model_name="m", model_base_path=Path("gs://bucket/m"))
    found = configs.from_settings(one)
    assert found is not None
    assert found.base is not None
    assert (found.base.name, str(found.base.url), found.base.folder) == ("m", "gs://bucket/m", found.root)
    assert configs.localise(one, found).model_base_path == found.root
    for file in (config(tmp_path, "s3://bucket/m"), Path("s3://bucket/config/models.config")):
        named = settings(tmp_path, model_config_file=file)
        source = configs.from_settings(named)
        assert source is not None
        assert source.store is None
        assert configs.localise(named, source).model_config_file == source.root / "models.config"
    in_store = configs.from_settings(settings(tmp_path, store=config(tmp_path, "az://container/m").parent))
    assert in_store is not None
    assert in_store.config == tmp_path / "models.config"


def test_what_lies_in_folders_is_not_copied(tmp_path: Path) -> None:
    assert configs.from_settings(Settings()) is None
    assert configs.from_settings(settings(tmp_path, model_config_file=config(tmp_path, "/models/m"))) is None
    assert configs.from_settings(settings(tmp_path, model_base_path=tmp_path)) is None
    assert configs.from_settings(settings(tmp_path, store=Path("s3://b"), engine="host:8500")) is None
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"store": Path("ftp://host/m")}, "--store takes a folder or an address starting with s3://, gs://, az://"),
        ({"store": Path("s3://")}, "lacks a bucket"),
        ({"model_base_path": Path("hdfs://host/m")}, "--model_base_path takes a folder or an address"),
        ({"store": Path("s3://a"), "model_base_path": Path("s3://b/m")}, "--store and --model_base_path both"),
    ],
)
def test_wrong_settings_are_told_in_a_sentence(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        configs.from_settings(settings(tmp_path, **values))


def test_the_extra_is_named_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"pip install 'signpost-serving\[objects\]'"):
        configs.from_settings(settings(tmp_path, store=Path("s3://bucket/models")))


def test_a_copy_lies_where_nobody_else_can_write(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(SettingsError, match="can be written by other users"):
        configs.from_settings(settings(tmp_path, store=Path("s3://bucket/models")))
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="can't be written"):
        cache.make_private(tmp_path / "file" / "below")


def test_base_paths_of_a_configuration_become_folders_of_the_copy(tmp_path: Path) -> None:
    source = configs.Source(tmp_path, Url("s3", "bucket", "models"))
    wanted, text = source.read(
        "model_config_list { config { name: 'a' base_path: 'a' } "
        "config { name: 'b' base_path: 's3://bucket/models/b' } "
        "config { name: 'c' base_path: 's3://bucket/c' } config { name: 'd' base_path: '/local/d' } }"
    )
    assert {each.name: str(each.url) for each in wanted} == {
        "a": "s3://bucket/models/a",
        "b": "s3://bucket/models/b",
        "c": "s3://bucket/c",
    }
    assert [each.folder for each in wanted[:2]] == [tmp_path / "a", tmp_path / "b"]
    assert "s3://" not in text
    assert '"/local/d"' in text
    with pytest.raises(SettingsError, match="base_path of a takes a folder or an address"):
        source.read("model_config_list { config { name: 'a' base_path: 'ftp://host/a' } }")


@pytest.mark.slow
def test_nothing_reaches_for_object_storage_without_an_address() -> None:
    program = (
        "import sys, service.commands.cli, service.process.launcher, service.process.worker, training.options\n"
        "import service.commands.models_commands\n"
        "from pathlib import Path\n"
        "from service.config.settings import Settings\n"
        "from service.process.launcher import mirrored\n"
        "with mirrored(Settings(), Path()) as settings: assert settings == Settings()\n"
        "found = [name for name in sys.modules if name.startswith(('obstore', 'boto', 'service.objects.mirror.'))]\n"
        "assert found == ['service.objects.mirror.metrics'], found\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
