"""The playground in a real browser before the real server: images in, answers out."""

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.e2e import browser
from tests.e2e.browser import Page
from tests.e2e.playground_page import answers, choose, keys, opened
from tests.e2e.processes import Server

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())


@pytest.fixture
def page(chromium: Page, server: Server) -> Iterator[Page]:
    """The playground of `circles`, ready; in the end nothing must have been complained of."""
    chromium.errors()
    opened(chromium, server.url)
    yield chromium
    assert chromium.errors() == []


def test_a_chosen_image_is_answered_with_bars_and_times(page: Page, files: dict[int, Path]) -> None:
    page.look("empty")
    choose(page, files[3])
    assert answers(page, 1) == {"circles_3.png": "3"}
    names = [element.text for element in page.all(".item .bars .name")]
    scores = [float(element.text.rstrip(" %\u00a0")) for element in page.all(".item .bars .score")]
    assert sorted(names) == ["1", "2", "3", "4", "5"]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(100, abs=0.5)
    assert page.text(".times summary").startswith("circles version 1, ")
    assert not page.one(".times ul").is_displayed()
    page.one(".times summary").click()
    assert all(stage in page.one(".times ul").text for stage in ("decode", "model", "network"))
    page.wait_for_text("#announcer", "circles_3.png: 3")
    assert page.one(".picture img").get_attribute("alt") == "circles_3.png"
    page.look("one-image")


def test_images_are_dropped_several_at_a_time(page: Page, files: dict[int, Path]) -> None:
    data = {"items": [], "files": [str(path) for path in files.values()], "dragOperationsMask": 1}
    box = page.one("#drop").rect
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "data": data}
    for step in ("dragEnter", "dragOver"):
        page.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": step, **at})
    page.wait(lambda: "over" in str(page.one("#drop").get_attribute("class")))
    page.look("dragged-over")
    page.driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": "drop", **at})
    assert answers(page, 5) == {path.name: str(count) for count, path in files.items()}
    order = [item.get_attribute("data-name") for item in page.all(".item")]
    assert order == [path.name for path in files.values()]
    assert page.text("#count") == "5 images"
    page.wait_for_text("#announcer", "answers")
    page.look("several-images")
    page.one("#clear").click()
    assert page.all(".item") == []
    assert page.driver.switch_to.active_element.get_attribute("id") == "pick"


def test_an_image_is_pasted(page: Page, pictures: dict[int, bytes]) -> None:
    page.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    copy = """
      const [encoded, done] = arguments;
      const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
      const item = new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) });
      navigator.clipboard.write([item]).then(() => done("copied"), (error) => done(String(error)));
    """
    assert page.driver.execute_async_script(copy, base64.b64encode(pictures[2]).decode()) == "copied"
    ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()
    assert list(answers(page, 1).values()) == ["2"]
    page.look("pasted")


def test_the_camera_answers_live_with_one_frame_on_its_way(page: Page) -> None:
    page.script("""
      const real = window.fetch;
      window.flight = { now: 0, most: 0, asked: 0 };
      window.fetch = (path, options) => {
        if (!String(path).includes(":predict")) return real(path, options);
        flight.asked += 1;
        flight.most = Math.max(flight.most, ++flight.now);
        return real(path, options).finally(() => { flight.now -= 1; });
      };
    """)
    page.one("#camera-start").click()
    page.wait(lambda: page.script("return flight.asked") >= 10, "ten frames")
    assert page.text("#live .best strong") in {"1", "2", "3", "4", "5"}
    assert page.script("return flight.most") == 1
    assert "a second" in page.text("#rate")
    page.look("camera")
    page.one("#camera-photo").click()
    [name] = answers(page, 1)
    assert re.fullmatch(r"camera_\d{6}\.jpg", name)
    page.one("#camera-stop").click()
    page.wait(lambda: page.script("return flight.now") == 0)
    assert not page.one("#camera").is_displayed()
    assert page.script("return document.getElementById('video').srcObject") is None
    asked = page.script("return flight.asked")
    later = page.script("return new Promise((done) => requestAnimationFrame(() => done(flight.asked)))")
    assert later == asked


def test_what_is_no_image_is_told_and_costs_the_others_nothing(
    page: Page, files: dict[int, Path], tmp_path: Path
) -> None:
    text = tmp_path / "letter.jpg"
    text.write_text("Dear reader, this is not an image.")
    choose(page, text, files[1], files[4])
    assert answers(page, 2) == {"circles_1.png": "1", "circles_4.png": "4"}
    assert "not an image: it is text" in page.text(".item.failed .error")
    assert "can't show it" in page.text(".item.failed .no-picture")
    assert page.all(".item.failed button:not(.remove)") == []  # to try again would not help
    page.wait_for_text("#announcer", "letter.jpg: This is not an image")
    page.look("no-image")
    assert all("400" in error for error in page.errors())  # the browser notes what the service answers


def test_the_lines_to_copy_do_the_same(page: Page, files: dict[int, Path], tmp_path: Path) -> None:
    choose(page, files[5])
    answers(page, 1)
    for count in (1, 2):
        if count == 2:
            choose(page, files[2])
            answers(page, 2)
        page.script("document.querySelector('input[value=curl]').click()")
        line = page.text("#code")
        if shutil.which("curl"):
            done = subprocess.run(
                ["bash", "-c", line], cwd=files[5].parent, capture_output=True, text=True, check=False
            )
            assert done.stdout.count('"class":') == count, line + done.stderr
        program = tmp_path / "program.py"
        commands = {"python": [sys.executable, program]}
        if shutil.which("node"):
            commands["javascript"] = ["node", program.with_suffix(".mjs")]
        for language, command in commands.items():
            page.script(f"document.querySelector('input[value={language}]').click()")
            Path(command[1]).write_text(page.text("#code"))
            ran = subprocess.run(command, cwd=files[5].parent, capture_output=True, text=True, check=False)
            assert [line.split()[0] for line in ran.stdout.splitlines()] == ["2", "5"][-count:], ran.stderr


def test_a_drawn_example_is_answered_as_what_it_shows(page: Page) -> None:
    buttons = page.wait(lambda: found if len(found := page.all("#examples-list button")) == 5 else None)
    assert [button.accessible_name for button in buttons] == [f"Try the drawn example {count}" for count in range(1, 6)]
    buttons[0].click()
    assert answers(page, 1) == {"drawn_1.png": "1"}
    buttons[0].click()
    answers(page, 2)
    page.look("examples")


def test_the_card_says_what_the_model_is_for_and_opens_its_figures_large(page: Page) -> None:
    page.wait_for_text("#purpose", "Counts the circles in a small grey drawing")
    page.wait_for_text("#facts", "Test accuracy")
    assert "Parameters" in page.text("#facts")
    figures = page.wait(lambda: found if len(found := page.all("#figures .figure")) == 4 else None)
    names = [figure.accessible_name for figure in figures]
    assert names == [
        f"{title}, open large" for title in ("Loss by epoch", "Accuracy by epoch", "Confusion matrix", "Reliability")
    ]
    assert all(figure.find_elements("css selector", "svg") for figure in figures)
    page.one("#classes summary").click()
    assert page.text("#classes ul") == "12345"
    page.look("model-card")
    for figure, name in zip(figures, ("curves", "accuracy", "matrix", "reliability"), strict=True):
        figure.click()
        assert page.one("#large").is_displayed()
        page.look(f"large-{name}")
        if name == "matrix":
            counts = [int(text.text) for text in page.all("#large .matrix .count")]
            assert sum(counts) == 833
            assert "taken for" in page.text("#large .mistakes") or "No test image" in page.text("#large")
        keys(page, Keys.ESCAPE)
        assert not page.one("#large").is_displayed()
        assert page.driver.switch_to.active_element == figure


def test_a_finger_taps_and_drops_nothing(page: Page) -> None:
    assert page.one(".drop-title.by-mouse").text == "Drop images or a folder here"
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    try:
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        page.wait(lambda: "Tap to choose images" in page.one("#drop").text)
        assert "Drop" not in page.one("#drop").text
        assert not page.one("#pick-folder").is_displayed()
    finally:
        page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_all_that_it_loads_is_from_this_service(page: Page, server: Server, files: dict[int, Path]) -> None:
    choose(page, files[1])
    answers(page, 1)
    loaded = page.script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(loaded) > 10
    assert {url for url in loaded if not url.startswith((f"{server.url}/", f"blob:{server.url}/"))} == set()


def test_everything_works_by_keyboard_and_has_a_name(page: Page) -> None:

    page.script("""
      window.picked = 0;
      document.getElementById("files").addEventListener("click", (event) => { picked += 1; event.preventDefault(); });
    """)
    met: list[str] = []

    def focused() -> str:
        # What has just been shown gets its name a moment later.
        page.wait(lambda: page.driver.switch_to.active_element.accessible_name, "what has the focus has a name")
        return str(page.driver.switch_to.active_element.get_attribute("id"))

    def tab_to(wanted: str) -> None:
        for _ in range(20):
            keys(page, Keys.TAB)
            met.append(focused())
            if met[-1] == wanted:
                return
        raise AssertionError(f"{wanted} is not reached; {met}")

    tab_to("pick")
    assert met.index("model") < met.index("version") < met.index("pick")
    keys(page, Keys.ENTER)
    assert page.script("return picked") == 1
    tab_to("camera-start")
    keys(page, Keys.ENTER)
    page.wait(lambda: focused() == "camera-photo", "the focus goes where the work goes on")
    keys(page, Keys.ENTER)
    answers(page, 1)
    tab_to("camera-stop")
    keys(page, Keys.SPACE)
    page.wait(lambda: focused() == "camera-start")
    tab_to("clear")
    assert {"heat", "download"} <= set(met)
    keys(page, Keys.TAB)
    assert "Remove camera_" in page.driver.switch_to.active_element.accessible_name
    keys(page, Keys.ENTER)
    assert page.all(".item") == []
    assert focused() == "pick"
    for _ in range(20):
        keys(page, Keys.TAB)
        if page.driver.switch_to.active_element.get_attribute("name") == "language":
            break
    keys(page, Keys.ARROW_RIGHT)  # from curl to Python
    assert "import requests" in page.text("#code")


def test_it_fits_a_telephone_and_follows_the_colour_scheme(page: Page, files: dict[int, Path]) -> None:
    choose(page, *files.values())
    answers(page, 5)
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    try:
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert page.script("return document.documentElement.scrollWidth") <= 360
        colours = set()
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            colours.add(page.script("return getComputedStyle(document.body).backgroundColor"))
        assert len(colours) == 2
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
