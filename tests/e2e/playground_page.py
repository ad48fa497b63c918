"""What people do on the playground, as functions of its page."""

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
