"""Each test that the table of faults names is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TABLE)


def test_every_fault_has_a_test() -> None:
    faults = [line for line in TABLE.split("\n## Figures")[0].splitlines() if line.startswith("| ")]
    rows = [line for line in faults if not line.startswith(("| fault |", "| --- |"))]
    assert len(rows) > 25
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::\w+`", row)] == []


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_it_is_there(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_script_is_there() -> None:
    scripts = re.findall(r"python -m (loadtests(?:\.\w+)+)", TABLE)
    assert len(set(scripts)) == 8
    for script in scripts:
        assert (ROOT / f"{script.replace('.', '/')}.py").is_file()
