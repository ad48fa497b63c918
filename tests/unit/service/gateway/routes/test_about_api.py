"""Labels, model card and figures: three files of a leased version, and no other."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.config.settings import Settings
from service.gateway import create_app
from service.gateway.routes.about_api import FILES
from service.gateway.routes.metrics import Metrics
from service.security import access
from tests.fakes import FakeEngine


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The two versions of `letters`; the second has no figures. `other` is not served."""
    for name, version in [("letters", 1), ("letters", 2), ("other", 1)]:
        extra = tmp_path / name / str(version) / "assets.extra"
        extra.mkdir(parents=True)
        (extra.parent / "saved_model.pb").write_bytes(b"graph")
        (extra / "model_card.json").write_text(f'{{"name": "{name}", "version": {version}}}')
        (extra / "golden.npz").write_bytes(b"secret")
    for figure in ("curves.png", "confusion_matrix.png"):
        (tmp_path / "letters" / "1" / "assets.extra" / figure).write_bytes(b"\x89PNG of " + figure.encode())
    (tmp_path / "models.config").write_text(
        'model_config_list { config { name: "letters" base_path: "letters" '
        'version_labels { key: "stable" value: 1 } } }'
    )
    return tmp_path


def client_of(engine: FakeEngine, settings: Settings) -> FlaskClient:
    return create_app(settings, engine, Metrics(engine), admits=access.read(settings).access()).test_client()


@pytest.fixture
def client(engine: FakeEngine, store: Path) -> FlaskClient:
    return client_of(engine, Settings(store=store))


@pytest.mark.parametrize(("at", "version"), [("", 2), ("/versions/1", 1), ("/versions/2", 2), ("/labels/stable", 1)])
def test_the_model_card_is_that_of_the_version_asked_for(client: FlaskClient, at: str, version: int) -> None:
    answer = client.get(f"/v1/models/letters{at}/extra/model_card.json")
    assert answer.status_code == 200
    runtime = {"name": "tensorflow", "times_as_fast": 1.0}  # of this host, and in no file
    assert answer.json == {"name": "letters", "version": version, "runtime": runtime}
    assert answer.headers["X-Model-Version"] == str(version)


def test_figures_are_pngs_that_a_browser_may_keep_and_asks_again_for(client: FlaskClient) -> None:
    answer = client.get("/v1/models/letters/versions/1/extra/curves.png")
    assert answer.mimetype == "image/png"
    assert answer.data == b"\x89PNG of curves.png"
    again = client.get(
        "/v1/models/letters/versions/1/extra/curves.png", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "letters/extra/golden.npz",
        "letters/extra/../saved_model.pb",
        "letters/extra/..%2f..%2fsaved_model.pb",
        "letters/versions/1/extra/normalisation.npz",
        "letters/versions/2/extra/curves.png",  # it has none
        "letters/versions/3/extra/model_card.json",
        "letters/labels/nosuch/extra/model_card.json",
        "other/extra/model_card.json",  # in the store, but not served
        "../extra/model_card.json",
        "nosuch/labels",
    ],
)
def test_nothing_else_is_served(client: FlaskClient, path: str) -> None:
    answer = client.get(f"/v1/models/{path}")
    assert answer.status_code == 404
    assert answer.json["error"]
    assert b"secret" not in answer.data


def test_labels_are_listed(client: FlaskClient) -> None:
    assert client.get("/v1/models/letters/labels").json == {"labels": {"stable": 1}}


def test_before_a_remote_engine_the_store_beside_says_nothing(engine: FakeEngine, store: Path) -> None:
    """The same name and number may be something else over there."""
    client = client_of(engine, Settings(store=store, engine="elsewhere:8500"))
    assert client.get("/v1/models/letters/extra/model_card.json").status_code == 404
    assert client.get("/v1/models/letters/labels").json == {"labels": {}}


def test_without_a_store_there_is_no_card_and_no_error(engine: FakeEngine, tmp_path: Path) -> None:
    client = client_of(engine, Settings(store=tmp_path / "gone"))
    for file in FILES:
        assert client.get(f"/v1/models/letters/extra/{file}").status_code == 404
    assert client.get("/v1/models/letters/labels").json == {"labels": {}}
