"""The playground before the models in the store: what it draws for them is what they see in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import browser
from tests.e2e.browser import Page
from tests.e2e.processes import Server, serving

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())

STORE = Path(__file__).parents[2] / "model_store"
MODELS = sorted(path.name for path in STORE.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(STORE, tmp_path_factory.mktemp("shipped")) as server:
        yield server


@pytest.mark.parametrize("model", MODELS)
def test_drawn_examples_are_recognised(chromium: Page, shipped: Server, model: str) -> None:
    page = chromium.open(f"{shipped.url}/#model={model}")
    page.wait_for_text("#examples-say", "Or try a drawing:")
    page.wait_for_text("#purpose", " ")
    examples = page.all("#examples-list button")
    assert len(examples) >= 2
    for example in examples:
        example.click()
    page.wait(lambda: len(page.all(".item .best")) == len(examples), "each is answered")
    right = [
        item.get_attribute("data-name") == f"drawn_{item.find_element('css selector', '.best strong').text.lower()}.png"
        for item in page.all(".item")
    ]
    assert sum(right) > len(right) / 2
    page.wait(lambda: page.all("#figures .matrix"), "the confusion matrix")
    page.look(f"store-{model}")
    page.one("#figures .figure:has(.matrix)").click()
    page.look(f"store-{model}-matrix")
    assert page.errors() == []
