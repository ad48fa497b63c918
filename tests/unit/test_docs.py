"""What the documents list is what the code has."""

import re
from dataclasses import Field
from pathlib import Path
from typing import Any

from loadtests.exports import EXPORTS
from service.config import settings, tf_serving_flags
from service.config.settings import Settings
from service.gateway.routes.metrics import Metrics
from service.interface import Queue, RunBy
from service.objects.mirror.metrics import MirrorMetrics
from tests.fakes import FakeEngine, classifier

ROOT = Path(__file__).parents[2]


def row(*cells: str) -> str:
    return re.sub(r" +\|", " |", f"| {' | '.join(cells)} |")


def setting_row(setting: Field[Any]) -> str:
    default = settings.default_of(setting)
    shown = "" if default in (None, "") else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    flag, variable = settings.flag(setting), settings.variable(setting)
    return row(f"`{flag}`<br>`{variable}`", shown, setting.metadata["help"])


def flag_row(flag: tf_serving_flags.TfServingFlag) -> str:
    if flag.setting:
        return row(f"`--{flag.name}`", flag.says)
    does = "refused" if flag.refused else "accepted with a warning"
    return row(f"`--{flag.name}`", f"{does}: {flag.says}")


def rows(document: str, heading: str, *also: str) -> list[str]:
    """The rows of the tables under a heading, and the lines that begin with `also`."""
    section = (ROOT / document).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith(("| `", *also))]


def test_the_readme_lists_every_setting() -> None:
    expected = [
        line
        for title, found in settings.sections().items()
        for line in (f"### {title}", *(setting_row(setting) for setting in found))
    ]
    assert rows("README.md", "Settings of `signpost serve`", "### ") == expected


def test_every_setting_is_in_one_section_that_fits_a_screen() -> None:
    found = [setting for section in settings.sections().values() for setting in section]
    assert found == list(settings.each_setting())
    assert max(map(len, settings.sections().values())) <= 12


def test_the_guide_from_tf_serving_tells_what_becomes_of_each_way_to_export() -> None:
    found = rows("docs/from-tf-serving.md", "Ways to export", "| ")
    assert found[2:] == [row(export.way, export.becomes) for export in EXPORTS]


def test_the_readme_leads_to_every_guide() -> None:
    readme = (ROOT / "README.md").read_text()
    missing = [path.name for path in (ROOT / "docs").glob("*.md") if f"(docs/{path.name})" not in readme]
    assert missing == []


def test_the_guide_from_tf_serving_lists_every_flag() -> None:
    assert rows("docs/from-tf-serving.md", "Flags") == [flag_row(flag) for flag in tf_serving_flags.FLAGS]


def test_flags_that_set_something_are_settings() -> None:
    names = {setting.name for setting in settings.each_setting()}
    assert {flag.setting for flag in tf_serving_flags.FLAGS if flag.setting} - names == {"version"}
    assert all(flag.says for flag in tf_serving_flags.FLAGS)
    assert len({flag.name for flag in tf_serving_flags.FLAGS}) == len(tf_serving_flags.FLAGS)


def test_the_flag_of_a_setting_is_tf_servings_where_it_has_one() -> None:
    by_name = {setting.name: setting for setting in settings.each_setting()}
    assert settings.flags(by_name["threads"]) == ("--threads", "--rest_api_num_threads")
    assert settings.flags(by_name["grpc_socket_path"]) == ("--grpc_socket_path",)
    assert settings.flags(by_name["ready_file"]) == ("--ready-file",)
    assert Settings().enable_batching


def test_the_api_document_lists_every_metric(tmp_path: Path) -> None:
    metrics = Metrics(FakeEngine(classifier("m")))
    metrics.count("/route", "m", "1", 200, {"infer": 0.1})  # a series shows its labels once it has a value
    metrics.count("/route", "m", "1", 500, {"total": 0.1})
    metrics.count_batch("m", 1, 1)
    metrics.count_images("m", 1, 1)
    metrics.count_comparison("m", "agree")
    metrics.count_stopped("m", 1, "serving_default")
    metrics.count_lane("flask", 1)
    metrics.count_given_up("m", 1, "openvino")
    metrics.note_queues({("m", 1): Queue(1, run_by=RunBy("openvino", 1.6))})
    metrics.note_gpu_memory({"GPU:0": {"current": 1, "peak": 2}})
    found = set()
    numbers = tmp_path / "mirror.json"
    numbers.write_text('{"looked_s": 1.0, "bytes": 2, "failures": 3}')
    metrics.show(MirrorMetrics(numbers))
    for family in metrics.collect():
        if family.name.startswith("signpost_") and family.samples:
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = ", ".join(label for label in family.samples[0].labels if label != "le")
            found.add(row(f"`{name}`", family.type, labels).removesuffix(" |"))
    listed = {" |".join(line.split(" |")[:3]) for line in rows("docs/api.md", "Metrics") if "process_" not in line}
    assert found == listed


DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "model_store/*.md", "loadtests/*.md", "deploy/**/*.md")
    for path in ROOT.glob(pattern)
]


def without_blocks(path: Path) -> str:
    """A document but for its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    """What links within a document may point at: its headings, as GitHub names them."""
    found = re.findall(r"^#+ (.+)$", without_blocks(path), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_link_in_the_documents_leads_somewhere() -> None:
    assert len(DOCUMENTS) > 50
    broken = []
    for path in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", path.read_text()):
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{path.relative_to(ROOT)}: {link}")
    assert broken == []


def test_no_word_in_the_documents_is_taken_for_html() -> None:
    """What stands in angle brackets outside of code would not be shown."""
    for path in DOCUMENTS:
        text = re.sub(r"`[^`\n]*`", "", without_blocks(path))
        assert set(re.findall(r"<[a-zA-Z/!][^>]*", text)) <= {
            "<br",
            *re.findall(r'<img src="[^"]+" alt="[^"]+" width="\d+"', text),
        }


def test_the_index_of_decisions_lists_each_by_its_title() -> None:
    folder = ROOT / "docs" / "decisions"
    titles = {path.name: path.read_text().splitlines()[0] for path in folder.glob("0*.md")}
    listed = dict(re.findall(r"^- \[(.+)\]\((.+)\)$", (folder / "README.md").read_text(), re.M))
    assert {f"# {title}": name for title, name in listed.items()} == {title: name for name, title in titles.items()}
