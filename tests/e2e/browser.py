"""Debian's Chromium without a window, with its fake camera, driven by Selenium; no request leaves this machine."""

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_S = 60.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
# How a page is looked at: width and height in pixels, and the colour scheme.
VIEWS = {"light": (1280, 900, "light"), "dark": (1280, 900, "dark"), "telephone": (360, 740, "dark")}
T = TypeVar("T")


def missing() -> str:
    """Why there is no browser here; empty if there is one."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if not lacking:
        return ""
    return f"{' and '.join(lacking)} not found; apt-get install chromium chromium-driver"


class Page:
    """A page in a browser, and what tests ask of it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> "Page":
        self.driver.get("about:blank")  # a change of the fragment alone would not load the page again
        self.driver.get(url)
        return self

    def one(self, selector: str) -> WebElement:
        """The element that a CSS selector finds, once there is one."""
        found: WebElement = self.wait(lambda: next(iter(self.all(selector)), None), selector)
        return found

    def all(self, selector: str) -> list[WebElement]:
        found: list[WebElement] = self.driver.find_elements("css selector", selector)
        return found

    def text(self, selector: str) -> str:
        """The text of an element, seen or not."""
        self.one(selector)
        found = self.script("return document.querySelector(arguments[0])?.textContent", selector)
        return str(found or "").strip()

    def script(self, code: str, *arguments: object) -> Any:
        return self.driver.execute_script(code, *arguments)

    def wait(self, condition: Callable[[], T | None], says: str = "") -> T:
        """Wait until a condition holds; elements that are replaced meanwhile are looked for again."""
        from selenium.common.exceptions import StaleElementReferenceException

        waiting = WebDriverWait(self.driver, PATIENCE_S, 0.05, (StaleElementReferenceException,))
        found: T = waiting.until(lambda _: condition(), says)
        return found

    def wait_for_text(self, selector: str, part: str) -> None:
        self.wait(lambda: part in self.text(selector), f"{part!r} in {selector}")

    def look(self, name: str) -> None:
        """Hold the page as it is to axe's rules of accessibility, in each of `VIEWS`.

        Where SIGNPOST_TEST_PICTURES names a folder, a picture of each is kept there, to be looked at.
        """
        if not self.script("return 'axe' in window"):
            self.script((resources.files("axe_playwright_python") / "axe.min.js").read_text())
        try:
            for view, (width, height, scheme) in VIEWS.items():
                self._show(width, height, scheme)
                self._keep_picture(f"{name}-{view}")
                run = "axe.run().then((found) => arguments[0](found.violations))"
                found = self.driver.execute_async_script(run)
                told = [f"{each['help']}: {node['html']}" for each in found for node in each["nodes"]]
                assert not told, "\n".join([f"{name}, {view}:", *told])
        finally:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def _show(self, width: int, height: int, scheme: str) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        # Colours that still fade are not those that stay.
        self.wait(lambda: self.script("return document.getAnimations().length === 0"), "nothing moves")
        assert self.script("return document.documentElement.scrollWidth") <= width

    def _keep_picture(self, name: str) -> None:
        folder = os.environ.get("SIGNPOST_TEST_PICTURES")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            whole = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            options = {"captureBeyondViewport": True, "clip": {**whole, "scale": 1}}
            taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)
            (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(taken["data"]))

    def errors(self) -> list[str]:
        """What the browser complained of since it was last asked, refusals by the page's policy among it."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@contextmanager
def browsing(profile: Path, size: tuple[int, int] = (1280, 900), *flags: str) -> Iterator[Page]:
    """Start a browser with an empty profile and end it in the end."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(str(shutil.which("chromedriver"))))
    try:
        yield Page(driver)
    finally:
        driver.quit()
