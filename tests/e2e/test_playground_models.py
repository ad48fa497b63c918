"""The playground before a server of several models and versions, one of them broken, and one that has gone."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from selenium.webdriver.common.keys import Keys

from tests.e2e import browser
from tests.e2e.browser import Page
from tests.e2e.playground_page import answers, choose, opened, saved, select
from tests.e2e.processes import Server, serving, wait_until

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())


@pytest.fixture(scope="module")
def changing(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server of two versions of `circles`, one of them labelled, of two small models, and of a broken one."""
    store = Path(shutil.copytree(circles_store, tmp_path_factory.mktemp("changing") / "store"))
    shutil.copytree(store / "circles" / "1", store / "circles" / "2")
    made = (f"{store}/bright/1,why", f"{store}/bright/2,why,64", f"{store}/silent/1")
    subprocess.run([sys.executable, "-m", "tests.e2e.make_brightness", *made], check=True)
    (store / "late" / "1").mkdir(parents=True)
    (store / "late" / "1" / "saved_model.pb").write_bytes(b"broken")
    configs = (
        'config { name: "bright" base_path: "bright" model_version_policy { all {} } }',
        'config { name: "circles" base_path: "circles" model_version_policy { all {} } '
        'version_labels { key: "stable" value: 1 } }',
        'config { name: "late" base_path: "late" }',
        'config { name: "silent" base_path: "silent" }',
    )
    (store / "models.config").write_text(f"model_config_list {{ {' '.join(configs)} }}")
    flags = "--file_system_poll_wait_seconds=0.1"
    with serving(store, tmp_path_factory.mktemp("log"), flags, ready=False) as running:
        wait_until(
            lambda: all(
                f"Loaded {name}" in running.log.read_text()
                for name in (
                    "bright version 1",
                    "bright version 2",
                    "silent version 1",
                    "circles version 2",
                    "circles version 1",
                )
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
    page.look("versions")
    # A link keeps the choice.
    assert page.driver.current_url.endswith("#model=circles&at=%2Fversions%2F2")
    opened(page, changing[0].url, "#model=circles&at=/labels/stable")
    assert page.one("#version").get_property("value") == "/labels/stable"


def test_a_model_says_what_it_does_not_know(chromium: Page, changing: tuple[Server, Path], tmp_path: Path) -> None:
    for level in (0, 200):
        Image.new("L", (32, 32), level).save(tmp_path / f"{level}.png")
    page = opened(chromium, changing[0].url, "#model=bright")
    choose(page, tmp_path / "0.png")
    page.wait_for_text(".item", "The model doesn't know this")
    page.wait_for_text("#announcer", "0.png: dark, 100.0\u00a0%, but not known")
    page.look("stranger")
    choose(page, tmp_path / "200.png")
    answers(page, 2)
    assert [len(item.find_elements("css selector", ".doubt")) for item in page.all(".item")] == [0, 1]


def test_one_switch_shows_what_models_look_at_beside_the_originals(
    chromium: Page, changing: tuple[Server, Path], tmp_path: Path
) -> None:
    half = tmp_path / "half.png"
    Image.fromarray(np.repeat(np.array([[255], [0]], np.uint8), 16, axis=0).repeat(32, axis=1)).save(half)
    page = opened(chromium, changing[0].url, "#model=bright")
    choose(page, half)
    answers(page, 1)
    assert not page.one("#opacity-field").is_displayed()
    assert page.one("#heat").accessible_name == "What the model looks at"
    page.one("#heat").click()
    page.one(".picture canvas")
    opacity = """
      const canvas = document.querySelector('.picture canvas');
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      return [0.1, 0.9].map((row) => data[(Math.floor(row * canvas.height) * canvas.width + 9) * 4 + 3]);
    """
    assert page.script(opacity) == [255, 0]  # hot where it is bright, and nothing where it is dark
    assert len(page.all(".item .picture img")) == 2  # the original has nothing over it
    faded = "return getComputedStyle(document.querySelector('.picture canvas')).opacity"
    before = page.script(faded)
    page.one("#opacity").send_keys(Keys.ARROW_LEFT * 3)
    assert float(page.script(faded)) == pytest.approx(float(before) - 0.15)
    choose(page, tmp_path / "half.png")  # the next has one too
    page.wait(lambda: len(page.all(".picture canvas")) == 2)
    page.one("#heat").click()
    assert page.all(".picture canvas") == []
    select(page, "model", "silent")  # has no such signature
    page.wait_for_text(".item", "silent version 1")
    assert not page.one("#heat").is_enabled()
    assert page.one("#heat-none").is_displayed()
    select(page, "model", "circles")  # has, as `signpost train` writes it
    page.wait_for_text(".item", "circles version 2")
    page.one("#heat").click()
    page.wait(lambda: len(page.all(".picture canvas")) == 2)
    page.look("explained")
    others = [error for error in page.errors() if "model_card.json" not in error]  # some have none
    assert others == []


def test_two_versions_answer_side_by_side(chromium: Page, changing: tuple[Server, Path], tmp_path: Path) -> None:
    page = opened(chromium, changing[0].url, "#model=bright&at=/versions/2")
    for level in (0, 80, 200):
        Image.new("L", (32, 32), level).save(tmp_path / f"{level}.png")
    choose(page, *(tmp_path / f"{level}.png" for level in (0, 80, 200)))
    answers(page, 3)
    select(page, "compare", "/versions/1")
    page.wait_for_text("#agreement", "disagree on 1 of 3 images")  # the second version is another one
    texts = [answer.text for answer in page.all(".item.differs .answer")]
    assert "version 2" in texts[0]
    assert "version 1" in texts[1]
    assert page.driver.current_url.endswith("#model=bright&at=%2Fversions%2F2&with=%2Fversions%2F1")
    page.one("#heat").click()
    page.wait(lambda: len(page.all(".picture canvas")) == 6)
    page.look("compared")
    page.script("document.querySelector('input[value=table]').click()")
    assert [cell.text for cell in page.all("#columns .versions-row th")] == ["Version 2", "Version 1"]
    assert len(page.all("#rows .different")) == 1
    assert "not known" in page.text("#rows")
    page.look("compared-table")
    lines = saved(page, tmp_path)
    assert [line["same_class"] for line in lines] == ["true", "false", "true"]
    assert [line["class"] == line["other_class"] for line in lines] == [True, False, True]
    assert {line["version"] + line["other_version"] for line in lines} == {"21"}
    assert [line["other_in_domain"] for line in lines] == ["false", "true", "true"]
    select(page, "compare", "-")
    page.wait(lambda: not page.one("#agreement").is_displayed())
    assert len(page.all("#columns th")) == 4
    page.errors()


def test_images_are_kept_until_they_are_removed(
    chromium: Page, changing: tuple[Server, Path], files: dict[int, Path]
) -> None:
    page = opened(chromium, changing[0].url, "#model=circles")
    choose(page, files[1], files[2])
    answers(page, 2)
    for model, said in (
        ("bright", "bright version 2"),
        ("late", "not ready"),
        ("circles", "circles version 2"),
    ):
        select(page, "model", model)
        page.wait_for_text(".item:last-child", said)
        assert [item.get_attribute("data-name") for item in page.all(".item")] == ["circles_1.png", "circles_2.png"]
    assert "kept until you remove them" in page.text(".count")
    page.errors()


def test_a_model_without_known_classes_has_drawings_too(chromium: Page, changing: tuple[Server, Path]) -> None:
    page = opened(chromium, changing[0].url, "#model=bright")
    page.wait_for_text("#examples-say", "none is of this model's classes")
    page.all("#examples-list button")[0].click()
    assert list(answers(page, 1)) == ["drawn_landscape.png"]
    page.errors()


def test_a_model_that_is_not_ready_says_so_and_answers_once_it_is(
    chromium: Page, changing: tuple[Server, Path], files: dict[int, Path]
) -> None:
    server, store = changing
    page = chromium.open(f"{server.url}/#model=late")
    page.wait_for_text("#service", "3 of 4 models ready")
    page.wait_for_text("#notice", "not ready")
    page.wait_for_text("#versions .pill", "failed")
    assert "is not a SavedModel" in page.text("#versions .error")
    choose(page, files[2])
    page.wait_for_text(".item.failed .error", "Model late is not ready")
    assert page.text(".item.failed button:not(.remove)") == "Try again"
    page.look("not-ready")
    shutil.rmtree(store / "late" / "1")
    shutil.copytree(store / "circles" / "1", store / "late" / "1")
    assert answers(page, 1) == {"circles_2.png": "2"}
    page.wait_for_text("#service", "4 models ready")
    assert not page.one("#notice").is_displayed()
    assert all("503" in error or "404" in error for error in page.errors())


def test_a_model_that_goes_while_it_is_looked_at_is_told_and_the_images_stay(
    chromium: Page, changing: tuple[Server, Path], tmp_path: Path
) -> None:
    server, store = changing
    page = opened(chromium, server.url, "#model=silent")
    Image.new("L", (32, 32), 200).save(tmp_path / "light.png")
    choose(page, tmp_path / "light.png")
    answers(page, 1)
    config = (store / "models.config").read_text()
    left = "".join(f'config {{ name: "{name}" base_path: "{name}" }}' for name in ("bright", "circles"))
    url = f"{server.url}/v1/config:reload"
    assert requests.post(url, data=f"model_config_list {{ {left} }}", timeout=60).status_code == 200
    page.wait_for_text("#notice", "silent is not served; bright answers instead.")
    page.wait_for_text(".item", "bright version 2")
    page.look("model-gone")
    requests.post(url, data=config, timeout=60)
    page.errors()


def test_a_service_that_has_gone_is_told(chromium: Page, circles_store: Path, tmp_path: Path) -> None:
    files = tmp_path / "a.png"
    files.write_bytes(b"whatever")
    with serving(circles_store, tmp_path) as server:
        page = opened(chromium, server.url)
    choose(page, files)
    page.wait_for_text(".item.failed .error", "does not answer")
    assert page.text("#service") == "not reachable"
    page.look("gone")
    page.errors()
    page.driver.get("about:blank")
