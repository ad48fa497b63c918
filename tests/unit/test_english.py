"""Words that read oddly do not come back: in messages and docstrings of the packages, and in the documents.

CONTRIBUTING.md has the glossary. Only what is wrong wherever it occurs is banned here.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What is banned, and what to write instead.
BANNED = {
    r"(?<!there )(?<!nor )\b(is|are|was|were) no "
    r"(?!longer|larger|more|less|better|worse|different|reason|need|use|way\b)": "is not a …",
    r"\bat hand\b": "available",
    r"\bthe begin\b": "the start",
    r"\banew\b": "again",
    r"\bsuch as are\b": "those that are",
    r"\bin an unforeseen way\b": "unexpectedly",
    r"\bis one too many\b": "exceeds the limit",
    r"\bnot know of\b": "not know",
    r"\b(is|are) well again\b": "has recovered",
    r"\bgo(es)? on (serving|being)\b": "keeps serving",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bfor want of\b": "for lack of",
    r"\bwith commas between\b": "separated by commas",
    r"\bnothing came yet\b": "nothing has arrived yet",
    r"\bbroken off\b": "truncated",
    r"\bin silence\b": "silently",
    r"\b(two|between) looks\b": "two checks",
    r"\ba look at the\b": "a check of the",
    r"\bany more\b(?= ?[.,;:)]|$)": "no longer …",
    r"\btelephones?\b": "phone",
    r"\boutside of\b": "outside",
}
# The phrase, and why it may stand in that file.
ALLOWED = {
    ("CONTRIBUTING.md", "the glossary names what it replaces"),
}


def documents() -> Iterator[tuple[Path, str]]:
    """Prose of the documents, without blocks of code and what is in backquotes."""
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        ROOT / "model_store/README.md",
        *ROOT.glob("loadtests/*.md"),
    ]
    for path in pages:
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        yield path, re.sub(r"`[^`\n]*`", "``", text)


def literals() -> Iterator[tuple[Path, str]]:
    """Every string of the packages: messages, parts of them, and docstrings."""
    for package in ("service", "training", "loadtests"):
        for path in ROOT.glob(f"{package}/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                    yield path, node.value


def found(texts: Iterator[tuple[Path, str]]) -> list[str]:
    allowed = {name for name, _ in ALLOWED}
    lines = []
    for path, text in texts:
        name = str(path.relative_to(ROOT))
        if name in allowed:
            continue
        joined = re.sub(r"\s+", " ", text)
        for pattern, instead in BANNED.items():
            for hit in re.finditer(pattern, joined, re.IGNORECASE):
                around = joined[max(0, hit.start() - 40) : hit.end() + 30]
                lines.append(f"{name}: {around!r}: write {instead!r}")
    return lines


def test_documents_have_no_banned_phrase() -> None:
    assert not found(documents())


def test_messages_and_docstrings_have_no_banned_phrase() -> None:
    assert not found(literals())


@pytest.mark.parametrize("text", ["The body is no JSON.", "nothing at hand", "it is known any more."])
def test_a_banned_phrase_is_found(text: str) -> None:
    assert found(iter([(ROOT / "README.md", text)]))


@pytest.mark.parametrize("text", ["There is no model.", "It is no longer served.", "this is no reason to wait"])
def test_good_english_is_not(text: str) -> None:
    assert not found(iter([(ROOT / "README.md", text)]))
