"""The playground's page and files as they are sent; what they do is tested in a browser (tests/e2e)."""

import dataclasses
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service import images
from service.config.settings import Settings
from service.gateway import create_app, playground
from service.gateway.routes.metrics import Metrics
from service.security import access
from tests.fakes import FakeEngine

FOLDER = Path(playground.__file__).parent
FILES = sorted(path for path in FOLDER.rglob("*") if path.suffix in (".html", ".css", ".js", ".svg"))


def test_the_page_may_load_nothing_from_elsewhere_and_run_nothing_inline(client: FlaskClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_everything_that_the_page_names_is_there(client: FlaskClient) -> None:
    page = client.get("/").text
    named = set(re.findall(r'(?:src|href)="(static/[^"]+)"', page))
    assert len(named) >= 4
    for path in named:
        assert client.get(f"/{path}", buffered=True).status_code == 200, path
    modules = [path for path in FILES if path.suffix == ".js"]
    for module in modules:
        for imported in re.findall(r'from "\./(.+?)"', module.read_text()):
            answer = client.get(f"/static/{imported}", buffered=True)
            assert answer.status_code == 200, imported
            assert answer.mimetype in ("text/javascript", "application/javascript")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_names_another_host_or_sets_html_or_is_long(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"""(?<!=["'])https?://(?!www\.w3\.org/2000/svg)[\w.]""", text) == []
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(|\sstyle=|\son\w+=", text)
    assert len(text.splitlines()) <= 300
    assert max(map(len, text.splitlines())) <= 140


@pytest.mark.parametrize("reads", [False, True])
def test_the_file_picker_offers_telephones_photographs_where_they_are_read(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    monkeypatch.setattr(images, "reads_heif", lambda: reads)
    [takes] = re.findall(r'accept="(.+?)"', client.get("/").text)
    assert {"image/*", ".avif"} <= set(takes.split(","))
    assert (".heic" in takes) == reads


def test_it_can_be_turned_off(engine: FakeEngine, settings: Settings) -> None:
    off = dataclasses.replace(settings, playground=False)
    client = create_app(off, engine, Metrics(engine), admits=access.read(off).access()).test_client()
    assert client.get("/").status_code == 404
    assert "There is no /" in client.get("/").json["error"]
    assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    "path", ["/static/../__init__.py", "/static/%2e%2e/__init__.py", "/static/", "/static/none.js"]
)
def test_no_other_file_is_served(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404
