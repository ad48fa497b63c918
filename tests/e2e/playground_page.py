"""What people do on the playground, as functions of its page."""

import csv
from pathlib import Path

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import Select

from tests.e2e.browser import Page


def opened(page: Page, url: str, place: str = "") -> Page:
    page.open(f"{url}/{place}")
    page.wait_for_text("#takes", "32 \u00d7 32 pixels, grey")
    return page


def choose(page: Page, *files: Path) -> None:
    """What the browser's dialogue does once files are chosen in it."""
    page.one("#files").send_keys("\n".join(map(str, files)))


def answers(page: Page, count: int) -> dict[str, str]:
    """The class of each answered image by name, once there are so many."""
    found = "return [...document.querySelectorAll('.item')].filter(i => i.querySelector('.best')).map(" + (
        "i => [i.dataset.name, i.querySelector('.best strong').textContent])"
    )
    pairs = page.wait(lambda: (p := page.script(found)) and len(p) == count and p, f"{count} answers")
    return dict(pairs)


def keys(page: Page, *pressed: str) -> None:
    for key in pressed:
        ActionChains(page.driver).send_keys(key).perform()


def select(page: Page, field: str, value: str) -> None:
    Select(page.one(f"#{field}")).select_by_value(value)


def choose_folder(page: Page, folder: Path) -> None:
    """What the browser's dialogue does once a folder is chosen in it."""
    page.one("#folder").send_keys(str(folder))


def saved(page: Page, folder: Path) -> list[dict[str, str]]:
    """The lines of the table that the page saves, by column."""
    allowed = {"behavior": "allow", "downloadPath": str(folder)}
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", allowed)
    page.one("#download").click()
    page.wait(lambda: list(folder.glob("*.csv")), "the table is saved")
    [file] = folder.glob("*.csv")
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))
