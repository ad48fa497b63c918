"""`signpost models` on a store in a bucket."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.commands.cli import main
from service.objects import publishing
from service.objects.editing import config_file
from service.objects.editing.config_file import BucketConfigFile
from service.objects.urls import Url
from service.store import MODEL_CARD
from tests.buckets import WHOLE, Buckets

STORE = "s3://bucket/models"
URL = Url("s3", "bucket", "models")


@pytest.fixture
def buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Buckets:
    """A store with versions 1 to 3 of `m`, the second with a card, and version 1 of `n`."""
    made = Buckets(tmp_path / "buckets")
    for version in ("m/1", "m/2", "m/3", "n/1"):
        made.put(f"{STORE}/{version}")
    card = {"created": "2026-01-02T03:04:05+00:00", "metrics": {"test": {"accuracy": 0.9876, "images": 2500}}}
    made.put(f"{STORE}/m/2", {MODEL_CARD: json.dumps(card).encode()})
    monkeypatch.setattr(BucketConfigFile.__init__, "__defaults__", (made.reach,))
    monkeypatch.setattr(publishing, "connect", made.reach)
    return made


def run(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["models", "--store", STORE, *arguments], env={"SIGNPOST_REST_API_PORT": "1"})
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    assert "/tmp" not in done.output, "nobody knows the sketch's folder"
    return done


def config(buckets: Buckets) -> str:
    return buckets.place(f"{STORE}/models.config").read_text()


def test_list_shows_what_lies_there_and_fetches_no_model(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.objects.bucket.Bucket.chunks", None)
    buckets.put(f"{STORE}/m/4", {"variables/variables.index": b""})
    shown = run("list").output
    assert "0.9876 of 2,500" in shown
    assert f"{STORE}/m/4 has no saved_model.pb" in shown
    rows = json.loads(run("list", "--json").stdout)
    assert [(row["model"], row["version"]) for row in rows if row["version"]] == [
        ("m", 3),
        ("m", 2),
        ("m", 1),
        ("n", 1),
    ]


def test_labels_and_roll_backs_change_the_configuration_in_the_bucket(buckets: Buckets) -> None:
    assert f"{STORE}/models.config now lists the models that are served" in run("label", "m", "stable", "3").output
    assert 'key: "stable"' in config(buckets)
    assert 'base_path: "m"' in config(buckets)
    assert "serves version 2 instead of 3" in run("rollback", "m").output
    assert "versions: 2" in config(buckets)
    run("latest", "m")
    assert "versions: 2" not in config(buckets)
    assert f"m has no version 9 in {STORE}/m; it has 1, 2, 3." in run("label", "m", "x", "9", code=2).output


def test_remove_deletes_the_objects(buckets: Buckets) -> None:
    assert "the one being served" in run("remove", "m", "3", code=2).output
    run("remove", "m", "1")
    assert not [path for path in buckets.place(f"{STORE}/m/1").rglob("*") if path.is_file()]
    assert buckets.place(f"{STORE}/m/2/saved_model.pb").is_file()


def test_two_changes_at_the_same_time_both_take_effect(buckets: Buckets, tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    first, second = (BucketConfigFile(URL, folder) for folder in folders)
    from service.config.config_edit import with_label

    first.change("m", lambda each: with_label(each, "stable", 1))
    second.change("m", lambda each: with_label(each, "canary", 2))
    assert {"stable", "canary"} == {word for word in ("stable", "canary") if word in config(buckets)}


def test_comments_are_kept_beside(buckets: Buckets) -> None:
    buckets.put(STORE, {"models.config": b"# ours\nmodel_config_list { config { name: 'm' base_path: 'm' } }"})
    run("label", "m", "stable", "1")
    assert buckets.place(f"{STORE}/models.config.before").read_text().startswith("# ours")


def test_addresses_in_the_configuration_stay_as_they_are(buckets: Buckets) -> None:
    buckets.put("gs://other/x/5")
    text = (
        "model_config_list { config { name: 'm' base_path: 's3://bucket/models/m' } "
        "config { name: 'x' base_path: 'gs://other/x' } }"
    )
    buckets.put(STORE, {"models.config": text.encode()})
    run("label", "m", "stable", "1")
    run("label", "x", "stable", "5")
    assert "s3://bucket/models/m" in config(buckets)
    assert "gs://other/x" in config(buckets)
    assert ".others" not in config(buckets)


@pytest.mark.usefixtures("buckets")
def test_a_file_of_its_own_is_refused() -> None:
    done = CliRunner().invoke(main, ["models", "--store", STORE, "--model_config_file", "x", "list"])
    assert done.exit_code == 2
    assert "leave out --model_config_file" in done.output


@pytest.mark.usefixtures("buckets")
def test_the_files_of_a_version_are_fetched_where_they_are_needed() -> None:
    with config_file.opened(Path(STORE)) as configs:
        folder = configs.whole(configs.folder_of(configs.model("n"), 1))
        assert (folder / "saved_model.pb").read_bytes() == WHOLE["saved_model.pb"]
        assert (folder / "variables/variables.index").read_bytes() == WHOLE["variables/variables.index"]
