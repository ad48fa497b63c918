"""`signpost models`: what each command changes, refuses and prints."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from service.commands.cli import main
from service.commands.models_list import address
from service.config.config_edit import ConfigFile, with_label
from service.config.model_config import Latest, Specific
from service.config.settings import Settings
from service.gateway import create_app
from service.gateway.routes.metrics import Metrics
from service.interface import State, VersionStatus
from service.security import access
from tests.fakes import FakeEngine, classifier

NOBODY = {"SIGNPOST_REST_API_PORT": "1"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with versions 1 to 3 of `m`, the second with a card, and version 1 of `n`."""
    for version in ("m/1", "m/2", "m/3", "n/1"):
        (tmp_path / version / "assets.extra").mkdir(parents=True)
        (tmp_path / version / "saved_model.pb").touch()
    card = {"created": "2026-01-02T03:04:05+00:00", "metrics": {"test": {"accuracy": 0.9876, "images": 2500}}}
    (tmp_path / "m/2/assets.extra/model_card.json").write_text(json.dumps(card))
    return tmp_path


def run(store: Path, *arguments: str, code: int = 0, environment: dict[str, str] = NOBODY) -> Result:
    done = CliRunner().invoke(main, ["models", "--store", str(store), *arguments], env=environment)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def listed(store: Path) -> dict[tuple[str, int], tuple[str, list[str]]]:
    rows = json.loads(run(store, "list", "--json").stdout)
    return {(row["model"], row["version"]): (row["serves"], row["labels"]) for row in rows}


def test_list_shows_versions_labels_and_measured_accuracy(store: Path) -> None:
    run(store, "label", "m", "stable", "2")
    shown = run(store, "list").output
    assert "0.9876 of 2,500" in shown
    assert "2026-01-02" in shown
    assert listed(store) == {
        ("m", 3): ("default", []),
        ("m", 2): ("wanted", ["stable"]),
        ("m", 1): ("", []),
        ("n", 1): ("default", []),
    }


def test_the_first_change_writes_a_file_that_lists_every_model(store: Path) -> None:
    run(store, "label", "m", "canary", "3")
    assert [config.name for config in ConfigFile(store).read()] == ["m", "n"]
    run(store, "label", "m", "canary", "--delete")
    assert ConfigFile(store).model("m").labels == {}


def test_rollback_goes_one_version_down_each_time_and_takes_stable_along(store: Path) -> None:
    run(store, "label", "m", "stable", "3")
    run(store, "label", "m", "canary", "3")
    assert "serves version 2 instead of 3" in run(store, "rollback", "m").output
    config = ConfigFile(store).model("m")
    assert config.policy == Specific(frozenset({2}))
    assert config.labels == {"stable": 2, "canary": 3}
    run(store, "rollback", "m")
    assert "no version older than 1" in run(store, "rollback", "m", code=2).output
    assert "now 3" in run(store, "latest", "m").output
    assert ConfigFile(store).model("m").policy == Latest()
    run(store, "rollback", "m", "--to", "1")
    assert listed(store)["m", 1] == ("default", ["stable"])


def test_remove_deletes_only_what_nobody_needs(store: Path) -> None:
    run(store, "label", "m", "stable", "2")
    assert "points at version 2" in run(store, "remove", "m", "2", code=2).output
    assert "is the one being served" in run(store, "remove", "m", "3", code=2).output
    run(store, "remove", "m", "1")
    assert sorted(path.name for path in (store / "m").iterdir()) == ["2", "3"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["label", "x", "a", "1"], "There is no model x; there are m, n."),
        (["label", "m", "a", "9"], "no version 9"),
        (["label", "m", "a/b", "1"], "not a valid label name"),
        (["label", "m", "a"], "either a version"),
        (["label", "m", "a", "1", "--delete"], "either a version"),
        (["label", "m", "a", "--delete"], "has no label a"),
        (["rollback", "n"], "no version older than 1"),
        (["rollback", "m", "--to", "7"], "no version 7"),
        (["remove", "m", "7"], "no version 7"),
        (["verify", "m/x"], "'x' is not a version"),
        (["verify", "m/7"], "is missing or has no saved_model.pb"),
    ],
)
def test_what_can_not_be_done_is_one_sentence_and_changes_nothing(store: Path, arguments: list[str], says: str) -> None:
    assert says in run(store, *arguments, code=2).output
    assert not (store / "models.config").exists()


def test_a_file_with_comments_is_kept_beside(store: Path) -> None:
    before = '# ours\nmodel_config_list { config { name: "m" base_path: "m" } }\n'
    (store / "models.config").write_text(before)
    run(store, "label", "m", "stable", "1")
    assert (store / "models.config.before").read_text() == before


def test_changes_at_the_same_time_all_take_effect(store: Path) -> None:
    def change(number: int) -> None:
        ConfigFile(store).change("m", lambda config: with_label(config, f"label-{number}", 1))

    threads = [threading.Thread(target=change, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ConfigFile(store).model("m").labels) == 12


def test_what_lies_in_a_folder_and_is_no_version_is_told(store: Path) -> None:
    (store / "m/v4").mkdir()
    (store / "m/v4/saved_model.pb").touch()
    (store / "flat").mkdir()
    (store / "flat/saved_model.pb").touch()
    shown = run(store, "list").output
    assert f"{store}/m/v4 contains a SavedModel and is skipped" in shown
    assert f"{store}/flat contains a SavedModel itself" in shown
    rows = json.loads(run(store, "list", "--json").stdout)
    [flat] = [row for row in rows if row["model"] == "flat"]
    assert (flat["version"], flat["serves"]) == (None, "")
    assert "flat/1" in flat["error"]
    # What is laid out wrongly must not get into the file: there the service would wait for it.
    run(store, "label", "m", "stable", "1")
    assert [config.name for config in ConfigFile(store).read()] == ["m", "n"]


def test_a_base_path_that_is_itself_a_saved_model_is_listed_and_not_deleted(store: Path) -> None:
    (store / "flat").mkdir()
    (store / "flat/saved_model.pb").touch()
    (store / "models.config").write_text(
        'model_config_list { config { name: "flat" base_path: "flat" } config { name: "m" base_path: "m" } }'
    )
    assert listed(store)["flat", 1] == ("default", [])
    assert "Version 1 of flat is the one being served" in run(store, "remove", "flat", "1", code=2).output
    run(store, "label", "flat", "stable", "1")
    assert listed(store)["flat", 1] == ("default", ["stable"])


def test_a_model_whose_folder_is_missing_hides_no_other(store: Path) -> None:
    (store / "models.config").write_text(
        'model_config_list { config { name: "m" base_path: "m" } config { name: "x" base_path: "gone" } }'
    )
    rows = json.loads(run(store, "list", "--json").stdout)
    assert [row["version"] for row in rows] == [3, 2, 1, None]
    assert "gone can't be read: No such file or directory" in rows[-1]["error"]


@pytest.fixture
def service() -> Iterator[tuple[str, FakeEngine]]:
    """A service that has loaded `m` 2 and 3, where 3 is the canary, and failed at `n` 1."""
    engine = FakeEngine(classifier("m", 2), classifier("m", 3))
    engine.states = {
        "m": (VersionStatus(3, State.AVAILABLE), VersionStatus(2, State.AVAILABLE)),
        "n": (VersionStatus(1, State.END, "n/1 is broken."),),
    }
    app = create_app(
        Settings(store=Path("/nowhere")),
        engine,
        Metrics(engine),
        admits=access.Access(),
    )
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.port}", engine
    server.shutdown()
    thread.join()
    server.server_close()


def test_where_a_service_runs_it_says_what_serves(store: Path, service: tuple[str, FakeEngine]) -> None:
    url, _ = service
    run(store, "rollback", "m", "--to", "1")  # which the service has not taken up
    environment = {"SIGNPOST_REST_API_PORT": url.rpartition(":")[2], "SIGNPOST_HOST": "0.0.0.0"}
    done = run(store, "list", "--json", environment=environment)
    found = {(row["model"], row["version"]): (row["serves"], row["state"]) for row in json.loads(done.stdout)}
    assert found == {
        ("m", 3): ("default", "AVAILABLE"),
        ("m", 2): ("wanted", "AVAILABLE"),
        ("m", 1): ("", None),
        ("n", 1): ("", "END"),
    }
    assert done.stderr == f"What is served is as reported by the service at {url}.\n"
    shown = run(store, "list", "--url", url).stdout
    assert re.search(r"n +1 +failed", shown)
    assert "n version 1: n/1 is broken." in shown


def test_a_service_of_other_models_is_none_of_this_store(store: Path, service: tuple[str, FakeEngine]) -> None:
    url, engine = service
    engine.states = {"other": ()}
    done = run(store, "list", "--json", "--url", url)
    assert json.loads(done.stdout)[0]["serves"] == "default"
    assert "serves other models (other)" in done.stderr


def test_where_no_service_runs_it_says_what_would_serve(store: Path) -> None:
    done = run(store, "list", "--json", "--url", "http://127.0.0.1:1")
    assert json.loads(done.stdout)[0]["serves"] == "default"
    assert done.stderr == ("No service answers at http://127.0.0.1:1: Connection refused; this is what would serve.\n")
    assert run(store, "list", "--url=").stderr == ""
    assert "takes http://HOST:PORT" in run(store, "list", "--url", "ftp://x", code=2).output


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:8501"),
        ({"SIGNPOST_HOST": "::", "SIGNPOST_REST_API_PORT": "80"}, "http://[::1]:80"),
        ({"SIGNPOST_HOST": "10.0.0.1", "SIGNPOST_SSL_CERTIFICATE_FILE": "c.pem"}, "https://10.0.0.1:8501"),
        ({"SIGNPOST_REST_API_PORT": "0"}, ""),
    ],
)
def test_the_service_is_looked_for_where_the_variables_say(environment: dict[str, str], url: str) -> None:
    assert address(environment) == url


def test_a_free_port_is_read_from_the_ready_file(tmp_path: Path) -> None:
    (tmp_path / "ready").write_text('{"port": 1, "rest_api_port": 2}')
    told = {"SIGNPOST_REST_API_PORT": "0", "SIGNPOST_READY_FILE": str(tmp_path / "ready")}
    assert address(told) == "http://127.0.0.1:2"


def test_a_service_is_asked_where_there_is_no_store_here(tmp_path: Path, service: tuple[str, FakeEngine]) -> None:
    url, _ = service
    shown = run(tmp_path / "nothing", "list", "--url", url)
    assert "What is served is as reported by the service at" in shown.stderr
    assert re.search(r"m +3 +by default", shown.stdout)
    assert "There is no store at" in run(tmp_path / "nothing", "list", code=2).output


def test_the_first_change_says_that_the_list_of_models_is_now_a_file(store: Path) -> None:
    says = "models.config now lists the models that are served; add more there."
    assert says in run(store, "label", "m", "stable", "2").stderr
    assert says not in run(store, "label", "m", "canary", "3").stderr


def test_the_store_may_be_named_behind_the_subcommand(store: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def shown(*arguments: object, environment: dict[str, str] = NOBODY) -> Result:
        return CliRunner().invoke(main, ["models", *map(str, arguments)], env=environment)

    assert "0.9876 of 2,500" in shown("list", "--store", store).output
    assert shown("label", "m", "stable", 2, "--store", store).exit_code == 0
    assert listed(store)["m", 2] == ("wanted", ["stable"])
    # What stands behind wins; a variable does not win over what is typed.
    assert "0.9876 of 2,500" in shown("--store", elsewhere, "list", "--store", store).output
    variable = {**NOBODY, "SIGNPOST_STORE": str(elsewhere)}
    assert "0.9876 of 2,500" in shown("--store", store, "list", environment=variable).output
    assert "0.9876 of 2,500" in shown("list", environment={**NOBODY, "SIGNPOST_STORE": str(store)}).output
