"""The playground before a server of several models and versions, one of them broken, and one that has gone."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import browser
from tests.e2e.browser import Page
from tests.e2e.playground_page import answers, choose, opened, select
from tests.e2e.processes import Server, serving, wait_until

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())


@pytest.fixture(scope="module")
def changing(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server of two versions of `circles`, one of them labelled, of a model that explains, and of a broken one."""
    store = Path(shutil.copytree(circles_store, tmp_path_factory.mktemp("changing") / "store"))
    shutil.copytree(store / "circles" / "1", store / "circles" / "2")
    subprocess.run([sys.executable, "-m", "tests.e2e.make_explained", store / "bright" / "1"], check=True)
    (store / "late" / "1").mkdir(parents=True)
    (store / "late" / "1" / "saved_model.pb").write_bytes(b"broken")
    configs = (
        'config { name: "bright" base_path: "bright" }',
        'config { name: "circles" base_path: "circles" model_version_policy { all {} } '
        'version_labels { key: "stable" value: 1 } }',
        'config { name: "late" base_path: "late" }',
    )
    (store / "models.config").write_text(f"model_config_list {{ {' '.join(configs)} }}")
    flags = "--file_system_poll_wait_seconds=0.1"
    with serving(store, tmp_path_factory.mktemp("log"), flags, ready=False) as running:
        wait_until(
            lambda: all(
                f"Loaded {name}" in running.log.read_text()
                for name in ("bright version 1", "circles version 2", "circles version 1")
            ),
            running.log.read_text,
        )
        yield running, store


def test_a_version_and_a_label_can_be_chosen(
    chromium: Page, changing: tuple[Server, Path], files: dict[int, Path]
) -> None:
    page = opened(chromium, changing[0].url, "#model=circles")
    choose(page, files[4])
    answers(page, 1)
    assert "circles version 2" in page.text(".item")
    for value in ("/labels/stable", "/versions/1"):
        select(page, "version", value)
        page.wait_for_text(".item", "circles version 1")
        page.wait_for_text("#code", f"{value}:predict")
        select(page, "version", "/versions/2")
        page.wait_for_text(".item", "circles version 2")
    assert "stable" in page.text("#versions")
    # A link keeps the choice.
    assert page.driver.current_url.endswith("#model=circles&at=%2Fversions%2F2")
    opened(page, changing[0].url, "#model=circles&at=/labels/stable")
    assert page.one("#version").get_property("value") == "/labels/stable"


def test_a_model_that_explains_shows_where_it_looks(
    chromium: Page, changing: tuple[Server, Path], files: dict[int, Path]
) -> None:
    page = opened(chromium, changing[0].url, "#model=circles")
    choose(page, files[4])
    answers(page, 1)
    assert page.all("[aria-pressed]") == []  # circles has no such signature
    select(page, "model", "bright")
    page.one("[aria-pressed=false]").click()
    page.one("[aria-pressed=true]")
    heat = "const c = document.querySelector('.picture canvas'); return [c.width, c.height, ...c.getContext('2d')" + (
        ".getImageData(0, 0, c.width, c.height).data].some((v) => v > 0)"
    )
    assert page.script(heat)
    page.one("[aria-pressed=true]").click()
    assert page.all(".picture canvas") == []
    assert all("model_card.json" in error for error in page.errors())  # it has none


def test_a_model_that_is_not_ready_says_so_and_answers_once_it_is(
    chromium: Page, changing: tuple[Server, Path], files: dict[int, Path]
) -> None:
    server, store = changing
    page = chromium.open(f"{server.url}/#model=late")
    page.wait_for_text("#service", "2 of 3 models ready")
    page.wait_for_text("#notice", "not ready")
    page.wait_for_text("#versions .pill", "failed")
    assert "is no SavedModel" in page.text("#versions .error")
    choose(page, files[2])
    page.wait_for_text(".item.failed .error", "Model late is not ready")
    assert page.text(".item.failed button:not(.remove)") == "Try again"
    shutil.rmtree(store / "late" / "1")
    shutil.copytree(store / "circles" / "1", store / "late" / "1")
    assert answers(page, 1) == {"circles_2.png": "2"}
    page.wait_for_text("#service", "3 models ready")
    assert not page.one("#notice").is_displayed()
    assert all("503" in error or "404" in error for error in page.errors())


def test_a_service_that_has_gone_is_told(chromium: Page, circles_store: Path, tmp_path: Path) -> None:
    files = tmp_path / "a.png"
    files.write_bytes(b"whatever")
    with serving(circles_store, tmp_path) as server:
        page = opened(chromium, server.url)
    choose(page, files)
    page.wait_for_text(".item.failed .error", "does not answer")
    page.errors()
    page.driver.get("about:blank")
