"""Keys in the real service: two gateways before a shared engine, over HTTP, over gRPC and on the page."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import requests
from selenium.webdriver.common.keys import Keys as Pressed

from service import protocol
from service.security import keys
from tests.e2e import browser, processes
from tests.e2e.browser import Page
from tests.e2e.playground_page import answers, choose
from tests.e2e.processes import Server, serving, wait_until

PREDICT, PREDICT_KEY = keys.make("camera", "predict")
ADMIN, ADMIN_KEY = keys.make("ops", "admin")
CONFIG = 'model_config_list { config { name: "circles" base_path: "circles" } }'

needs_browser = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys"
    for key in (PREDICT_KEY, ADMIN_KEY):
        keys.append(path, key)
    return path


@pytest.fixture(scope="module")
def guarded(circles_store: Path, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ("--workers=2", "--engine=shared", "--api-keys-file", str(file), "--log-level=debug")
    with serving(circles_store, tmp_path_factory.mktemp("log"), *flags) as server:
        yield server
        log = server.log.read_text()
    assert PREDICT not in log
    assert ADMIN not in log


def post(server: Server, image: bytes, **headers: str) -> requests.Response:
    return requests.post(server.predict_url(), data=image, headers=headers, timeout=60)


def test_only_a_key_lets_in_and_the_gateways_reach_their_engine(guarded: Server, pictures: dict[int, bytes]) -> None:
    assert requests.get(f"{guarded.url}/readyz", timeout=60).json()["ready"]
    for _ in range(4):  # both workers
        assert post(guarded, pictures[3]).status_code == 401
        assert post(guarded, pictures[3], Authorization=f"Bearer {PREDICT}x").status_code == 401
        answer = post(guarded, pictures[3], Authorization=f"Bearer {PREDICT}")
        assert answer.json()["predictions"][0]["class"] == "3"


def test_an_admin_changes_what_is_served_by_way_of_the_engine(guarded: Server) -> None:
    url = f"{guarded.url}/v1/config:reload"
    assert requests.post(url, data=CONFIG, headers={"X-API-Key": PREDICT}, timeout=60).status_code == 403
    assert requests.post(url, data=CONFIG, headers={"X-API-Key": ADMIN}, timeout=60).json() == {"models": ["circles"]}
    missing = CONFIG.replace('base_path: "circles"', 'base_path: "nowhere"')
    refused = requests.post(url, data=missing, headers={"X-API-Key": ADMIN}, timeout=60)
    assert refused.status_code == 404
    assert "/" not in refused.json()["error"]


def test_grpc_asks_for_the_same_keys(guarded: Server) -> None:
    request = protocol.get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "circles"
    with grpc.insecure_channel(f"127.0.0.1:{guarded.port}") as channel:
        ask = protocol.model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
        codes = [
            ask.future(request, timeout=60, metadata=metadata).code().name
            for metadata in ((), (("x-api-key", PREDICT),), (("authorization", f"Bearer {ADMIN}"),))
        ]
    assert codes == ["UNAUTHENTICATED", "OK", "OK"]


def test_the_command_sends_a_key(guarded: Server, files: dict[int, Path]) -> None:
    arguments = ("predict", files[4], "--url", guarded.url, "--json")
    without = processes.run(*arguments)
    assert without.returncode == 2
    assert "needs an API key" in without.stderr
    done = processes.run(*arguments, environment={"SIGNPOST_API_KEY": PREDICT})
    assert '"class": "4"' in done.stdout, done.stderr


def test_keys_come_and_go_without_a_restart(guarded: Server, file: Path, pictures: dict[int, bytes]) -> None:
    made = processes.run("keys", "new", "--api-keys-file", file, "--name=visitor")
    secret = made.stdout.strip()

    def statuses() -> set[int]:
        return {post(guarded, pictures[1], Authorization=f"Bearer {secret}").status_code for _ in range(6)}

    wait_until(lambda: statuses() == {200})
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "visitor" not in line))
    wait_until(lambda: statuses() == {401})


@pytest.fixture
def page(chromium: Page, guarded: Server) -> Iterator[Page]:
    chromium.open(f"{guarded.url}/")
    chromium.script("sessionStorage.clear()")
    chromium.open(f"{guarded.url}/")
    chromium.wait(lambda: chromium.one("#key-dialog").is_displayed())
    chromium.errors()
    yield chromium
    chromium.script("sessionStorage.clear()")
    chromium.driver.get("about:blank")


@needs_browser
def test_the_page_asks_for_a_key_and_says_when_it_is_wrong(page: Page, files: dict[int, Path]) -> None:
    assert page.errors() == []  # it has not even tried without
    assert page.text("#service") == "key needed"
    page.look("key-asked-for")
    field = page.driver.switch_to.active_element
    assert (field.get_attribute("id"), field.accessible_name) == ("key", "Key")
    field.send_keys(Pressed.ENTER)
    page.wait_for_text("#key-problem", "first")
    field.send_keys("wrong", Pressed.ENTER)
    page.wait_for_text("#key-problem", "not known")
    assert field.get_attribute("aria-invalid") == "true"
    assert page.driver.switch_to.active_element == field
    page.look("key-wrong")
    field.send_keys("two words", Pressed.ENTER)
    page.wait_for_text("#key-problem", "no spaces")
    field.clear()
    field.send_keys(PREDICT, Pressed.ENTER)
    page.wait_for_text("#takes", "32 \u00d7 32 pixels, grey")
    assert not page.one("#key-dialog").is_displayed()
    page.wait_for_text("#announcer", "key is good")
    choose(page, files[5])
    assert list(answers(page, 1).values()) == ["5"]
    page.wait_for_text("#facts", "Test accuracy")
    kept = "return [JSON.stringify(localStorage), document.cookie, document.documentElement.outerHTML, location.href]"
    assert PREDICT not in str(page.script(kept))
    page.driver.refresh()  # the tab keeps it
    page.wait_for_text("#takes", "32 \u00d7 32 pixels, grey")


@needs_browser
def test_a_key_that_is_taken_back_is_asked_for_again(page: Page, files: dict[int, Path]) -> None:
    page.one("#key").send_keys(PREDICT, Pressed.ENTER)
    page.wait_for_text("#takes", "32 \u00d7 32 pixels, grey")
    page.script("sessionStorage.setItem('signpost-key', 'taken-back')")
    choose(page, files[2])
    page.wait(lambda: page.one("#key-dialog").is_displayed())
    page.wait_for_text("#key-problem", "not known")
    page.one("#key").send_keys(PREDICT, Pressed.ENTER)
    page.wait(lambda: not page.one("#key-dialog").is_displayed())
    assert list(answers(page, 1).values()) == ["2"]  # what was refused is asked again by itself


@needs_browser
def test_the_key_can_be_put_off_and_images_wait_for_it(page: Page, files: dict[int, Path]) -> None:
    page.one("#key").send_keys(Pressed.ESCAPE)
    page.wait(lambda: not page.one("#key-dialog").is_displayed())
    choose(page, files[1])
    page.wait_for_text(".item", "Waits until the service can be asked")
    assert "needs an API key" in page.text("#notice")
    page.look("key-put-off")
    page.one("#key-change").click()
    assert page.one("#key-dialog").is_displayed()
    page.one("#key-cancel").click()
    assert not page.one("#key-dialog").is_displayed()
    page.one("#key-change").click()
    page.one("#key").send_keys(PREDICT, Pressed.ENTER)
    assert list(answers(page, 1).values()) == ["1"]
    assert page.all("nav a[href=metrics]") == []  # a link carries no key


@needs_browser
def test_the_lines_to_copy_name_the_key_and_do_not_hold_it(page: Page, files: dict[int, Path], tmp_path: Path) -> None:
    page.one("#key").send_keys(PREDICT, Pressed.ENTER)
    page.wait_for_text("#takes", "32 \u00d7 32 pixels, grey")
    choose(page, files[3])
    answers(page, 1)
    environment = {**os.environ, "SIGNPOST_API_KEY": PREDICT}
    for language, command in (("python", [sys.executable]), ("curl", ["bash"])):
        page.script(f"document.querySelector('input[value={language}]').click()")
        lines = page.text("#code")
        assert PREDICT not in lines
        program = tmp_path / "program"
        program.write_text(lines)
        done = subprocess.run(
            [*command, program], cwd=files[3].parent, env=environment, capture_output=True, text=True, check=False
        )
        assert '"class":"3"' in done.stdout or done.stdout.startswith("3 "), lines + done.stderr
