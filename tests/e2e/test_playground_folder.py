"""Folders on the playground, and what strangers put into them: a table, CSV, and no end of wrong files."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from service import images
from tests.e2e import browser
from tests.e2e.browser import Page
from tests.e2e.playground_page import answers, choose, choose_folder, opened, saved
from tests.e2e.processes import Server

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=browser.missing())


@pytest.fixture
def page(chromium: Page, server: Server) -> Iterator[Page]:
    chromium.errors()
    opened(chromium, server.url)
    yield chromium
    chromium.errors()


@pytest.fixture
def folder(tmp_path: Path, pictures: dict[int, bytes]) -> Path:
    """Thirty images in two folders, one of them broken, and what lies about in folders."""
    photos = tmp_path / "photos"
    for count in (1, 2):
        (photos / f"with {count}").mkdir(parents=True)
        for at in range(15):
            (photos / f"with {count}" / f"{at}.png").write_bytes(pictures[count])
    (photos / "with 1" / "0.png").write_bytes(pictures[1][:60])
    (photos / "notes, of mine.txt").write_text("nothing to see")
    (photos / ".DS_Store").write_bytes(b"\x00\x01")
    return photos


def test_a_folder_is_answered_in_a_table_to_be_saved(page: Page, folder: Path, tmp_path: Path) -> None:
    choose_folder(page, folder)
    page.wait_for_text("#count", "30 images, 1 failed")
    page.wait(lambda: len(page.all("#rows .class strong")) == 29)
    assert not page.one("#gallery").is_displayed()
    assert page.text("#left-out") == "1 file of the folder left out, not being an image (notes, of mine.txt)."
    assert "broken" in page.text("#rows .error") or "truncated" in page.text("#rows .error")
    page.look("folder")
    lines = {line["image"]: line for line in saved(page, tmp_path)}
    assert len(lines) == 30
    good = lines["photos/with 2/3.png"]
    assert (good["model"], good["version"], good["class"], good["error"]) == ("circles", "1", "2", "")
    assert 0.2 < float(good["score"]) <= 1
    assert good["in_domain"] in {"true", "false"}
    assert float(good["milliseconds"]) > 0
    broken = lines["photos/with 1/0.png"]
    assert broken["class"] == ""
    assert broken["error"]
    assert "25 more images" in page.text("#code-more")
    page.one("#rows .remove").click()
    page.wait_for_text("#count", "29 images")
    assert "Remove photos/" in page.driver.switch_to.active_element.accessible_name
    page.script("document.querySelector('input[value=cards]').click()")
    page.wait(lambda: len(page.all(".item")) == 29)
    page.one("#clear").click()
    assert page.all(".item, #rows tr") == []


def test_three_hundred_images_are_all_answered(page: Page, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for at in range(300):
        Image.new("L", (32, 32), at % 256).save(many / f"{at:03}.png")
    choose_folder(page, many)
    page.wait(lambda: page.one("#progress").is_displayed(), "how far it is")
    page.wait(lambda: len(page.all("#rows .class")) == 300, "all answers")
    assert not page.one("#progress").is_displayed()
    page.wait_for_text("#announcer", "300 answers")
    assert "not known" in page.text("#rows")  # as `signpost train` teaches it, of what is blank
    assert len(saved(page, tmp_path)) == 300


def test_a_folder_without_images_says_so(page: Page, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    choose_folder(page, tmp_path / "texts")
    page.wait_for_text("#left-out", "There is no image in that folder (a.txt).")
    assert page.all(".item, #rows tr") == []


def test_what_strangers_bring_is_told_one_by_one(page: Page, files: dict[int, Path], tmp_path: Path) -> None:
    large, heic = tmp_path / "large.bmp", tmp_path / "photo.heic"
    large.write_bytes(b"BM" + os.urandom(60_000_000))
    heic.write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00" * 64)
    choose(page, large, heic, files[2])
    assert answers(page, 1) == {"circles_2.png": "2"}
    page.wait(lambda: len(page.all(".item.failed .error")) == 2)
    said = {item.get_attribute("data-name"): item.text for item in page.all(".item.failed")}
    assert "at most" in said["large.bmp"]
    assert "Try again" not in said["large.bmp"]
    assert "can't show it" in said["photo.heic"]
    assert page.text("#service") == "1 model ready"
    page.look("strangers")


@pytest.mark.skipif(not images.reads_heif(), reason="pillow-heif is not installed")
def test_a_telephones_photograph_is_answered_though_the_browser_cannot_show_it(
    page: Page, files: dict[int, Path], tmp_path: Path
) -> None:
    import pillow_heif

    with Image.open(files[3]) as picture:
        pillow_heif.from_pillow(picture.convert("RGB").resize((128, 128))).save(tmp_path / "photo.heic", quality=95)
    choose(page, tmp_path / "photo.heic")
    assert answers(page, 1) == {"photo.heic": "3"}
    page.wait_for_text(".no-picture", "can't show it")
