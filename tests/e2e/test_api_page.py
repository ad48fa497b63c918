"""The description of the API at a real service: what it shows is what is answered, on the page too."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium.webdriver.common.keys import Keys

from tests.e2e import browser
from tests.e2e.browser import Page
from tests.e2e.processes import Server, serving

ROOT = Path(__file__).parents[2]
CONFIG = """model_config_list {
  config { name: "half_plus_two" base_path: "half_plus_two" version_labels { key: "stable" value: 2 } }
  config { name: "sign_language" base_path: "sign_language" version_labels { key: "stable" value: 2 } }
}"""


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of the models that the examples name."""
    folder = tmp_path_factory.mktemp("described")
    subprocess.run([sys.executable, "-m", "tests.e2e.make_models", folder / "made"], cwd=ROOT, check=True)
    store = folder / "store"
    shutil.copytree(ROOT / "model_store" / "sign_language", store / "sign_language")
    shutil.copytree(folder / "made" / "tensorflow_1", store / "half_plus_two")
    (store / "half_plus_two" / "1").rename(store / "half_plus_two" / "2")
    (store / "models.config").write_text(CONFIG)
    with serving(store, folder) as server:
        yield server


def operations(server: Server) -> list[dict[str, Any]]:
    """All of them, those that change what is served last."""
    paths = requests.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]
    found = [operation for methods in paths.values() for operation in methods.values()]
    changing = ("repository_unload", "repository_load", "reload")  # what goes must come back
    return sorted(found, key=lambda operation: [each in operation["operationId"] for each in reversed(changing)])


def rounded(value: Any) -> Any:
    """The same document without the last digits of its scores, which other processors round differently."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return pytest.approx(value, abs=2e-3) if isinstance(value, float) else value


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl not found")
def test_every_command_is_answered_as_the_examples_say(described: Server) -> None:
    ran = compared = 0
    for operation in operations(described):
        examples = operation["responses"]["200"]["content"].get("application/json", {}).get("examples", {})
        for sample in operation["x-codeSamples"]:
            command = sample["source"].replace("curl ", "curl --fail-with-body --silent --show-error ")
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], capture_output=True, check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout.decode()}{done.stderr.decode()}"
            ran += 1
            shown = examples.get(sample["label"])
            if shown is not None:
                assert json.loads(done.stdout) == rounded(shown["value"]), command
                compared += 1
    assert ran > 30
    assert compared > 15


@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
def test_the_page_can_be_read_by_everyone(chromium: Page, described: Server) -> None:
    chromium.errors()
    chromium.open(f"{described.url}/docs")
    chromium.look("api")
    chromium.script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    chromium.look("api-opened")
    assert "static/example.png" in chromium.text("#predict_predict .command")
    assert chromium.errors() == []


@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
def test_requests_are_sent_from_the_page_and_commands_copied(chromium: Page, described: Server) -> None:
    chromium.errors()
    page = chromium.open(f"{described.url}/docs#predict_predict")
    page.wait(lambda: page.all("#predict_predict .try form"), "the buttons are there")
    assert page.one("#predict_predict .inside").is_displayed()  # a link opens it
    for block, part in zip(page.all("#predict_predict .try"), ('"class": "Y"', '"scores"', '"outputs"'), strict=True):
        block.find_element("css selector", "button[type=submit]").click()
        page.wait(lambda block=block, part=part: part in block.find_element("css selector", ".sent").text, part)
        assert "200" in block.find_element("css selector", ".sent").text
    first = page.all("#predict_predict .try")[0]
    first.find_element("css selector", "summary").click()
    path = first.find_element("css selector", "input[type=text]")
    path.clear()
    path.send_keys("v1/models/nobody:predict", Keys.ENTER)
    page.wait(lambda: "404" in first.find_element("css selector", ".sent").text, "what is wrong is shown too")
    assert "nobody" in first.find_element("css selector", ".sent pre").text
    page.look("api-sent")
    page.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    first.find_element("css selector", "button[type=button]").click()
    page.wait_for_text("#announcer", "Copied")
    copied = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")
    assert copied == first.find_element("css selector", ".command").get_property("textContent")
    assert all("404" in error for error in page.errors())


@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())
def test_what_changes_the_service_is_sent_after_a_question(chromium: Page, described: Server) -> None:
    page = chromium.open(f"{described.url}/docs#repository_unload")
    operation = page.wait(lambda: next(iter(page.all("#config_reload, [id*=reload]")), None))
    page.script("arguments[0].open = true", operation)
    page.wait(lambda: operation.find_elements("css selector", ".try form"))
    operation.find_element("css selector", "button[type=submit]").click()
    page.driver.switch_to.alert.dismiss()
    assert not operation.find_element("css selector", ".sent").is_displayed()
