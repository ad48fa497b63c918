"""The report: whole, without a network, and honest about failures."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from loadtests.results import report
from service.errors import SettingsError
from tests.unit.loadtests.runs import Json, document

pytestmark = pytest.mark.slow  # pictures are drawn


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Json:
    return document(tmp_path_factory.mktemp("run"), slo="p99=1s,p50=1ms")


@pytest.fixture(scope="module")
def page(made: Json) -> str:
    return report.page(made)


def headings(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_the_page_needs_nothing_from_elsewhere_and_the_document_lies_beside_it(tmp_path: Path, made: Json) -> None:
    beside = report.write(tmp_path / "new" / "report.html", made)
    page = (tmp_path / "new" / "report.html").read_text("utf-8")
    assert json.loads(beside.read_text("utf-8")) == json.loads(json.dumps(made))
    assert not re.search(r"""(src|href)=["'](?!#)|url\((?!#)|@import|<script""", page)
    assert headings(page) == [
        "Latency against load", "Over time", "Where the time goes", "Batch sizes", "By load", "By kind of request",
        "Stages", "Generator", "Service", "Machine",
    ]  # fmt: skip
    for text in (
        "No request failed.",
        "Some CPU, 2 cores, of which the control group allows 1.5",
        "--workers 2",
        "signpost 0.1.0",
        "7,000 requests/s",
    ):
        assert text in page  # fmt: skip
    assert len(page) < 400_000


def test_its_pictures_are_svg_that_takes_the_colours_of_the_page(page: str) -> None:
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) == 4
    identifiers = [name for picture in pictures for name in re.findall(r'\bid="([^"]+)"', picture)]
    assert len(set(identifiers)) == len(identifiers)
    for picture in pictures:
        ElementTree.fromstring(picture)
        assert "currentColor" in picture
        used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', picture))
        assert used <= set(re.findall(r'\bid="([^"]+)"', picture))


def test_it_says_whether_the_objectives_held(page: str) -> None:
    assert re.search(r">Held</b> p99=1s: [\d.]+ ms", page)
    assert re.search(r">Missed</b> p50=1ms: [\d.]+ ms", page)


def test_failures_are_shown_with_their_texts_which_are_no_markup(tmp_path: Path) -> None:
    made = document(tmp_path, failing=0.1)
    page = report.page(made)
    assert "Failures" in headings(page)
    assert "Errors" in headings(page)
    assert "&lt;b&gt;too many&lt;/b&gt; &amp; more" in page
    assert "no answer" in page
    text = "\n".join(report.lines(made))
    assert "x HTTP 503: <b>too many</b> & more" in text


def test_a_search_shows_its_probes_and_its_capacity(tmp_path: Path) -> None:
    made = document(tmp_path, slo="p99=50ms", arrivals="poisson")
    made["capacity"] = {"rate": 120.0, "says": "120.0 requests/s (one search)"}
    made["probes"] = [{**made["total"], "load": load, "held": load < 130} for load in (60.0, 240.0, 120.0)]
    page = report.page(made)
    assert "Capacity</b> 120.0 requests/s (one search) with p99=50ms" in page
    assert headings(page)[0] == "Latency against load"
    assert "Probes" in headings(page)


def test_a_run_of_which_everything_failed_has_a_report_and_a_warning_is_shown(tmp_path: Path) -> None:
    made = document(tmp_path, failing=1.0, slo="p99=1s,errors=1%")
    made["generator"]["warnings"] = ["The generator was the limit."]
    page = report.page(made | {"batches": {}, "floor": None, "service_load": None})
    assert "Missed</b> errors=1%: 100.00% errors" in page
    assert "Where the time goes" not in headings(page)
    assert "Careful:</b> The generator was the limit." in page
    assert "Careful: The generator was the limit." in list(report.lines(made))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, made: Json) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="can't be written: "):
        report.write(tmp_path / "file" / "report.html", made)
