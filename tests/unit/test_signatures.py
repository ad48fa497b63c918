"""How constructors are called: beyond four parameters a reader can't tell which argument is which."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MOST: Final = 4


def constructors() -> Iterator[tuple[str, int]]:
    """Each class that says how it is made, and how many arguments may go without their name (`self` is none)."""
    for package in ("service", "training", "loadtests"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                for made in node.body if isinstance(node, ast.ClassDef) else ():
                    if isinstance(made, ast.FunctionDef) and made.name == "__init__":
                        taken = [*made.args.posonlyargs, *made.args.args]
                        yield f"{path.relative_to(ROOT)}: {node.name}", len(taken) - 1


def test_a_constructor_of_many_parts_takes_them_by_name() -> None:
    found = dict(constructors())
    assert len(found) > 100
    assert {name: count for name, count in found.items() if count > MOST} == {}
