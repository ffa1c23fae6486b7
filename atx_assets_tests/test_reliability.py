"""The page of what was tried: its tests are there, and no line of it leaves something open."""

import ast

from atx_assets.settings import ROOT
from atx_assets_tests.reliability import PAGE, named_tests


def defined(path: str, names: list[str]) -> bool:
    """Whether a class and a function, or one of them, stand in a file of tests."""
    within: ast.AST = ast.parse((ROOT / path).read_text())
    for name in names:
        for node in ast.walk(within):  # a test may stand under a condition
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
                within = node
                break
        else:
            return False
    return True


def test_each_test_that_the_page_names_is_there() -> None:
    names = named_tests()
    assert len(names) > 130
    assert [n for n in names if not defined(n.split("::")[0], n.split("::")[1:])] == []


def test_each_test_that_makes_a_fault_is_on_the_page() -> None:
    names = set(named_tests())
    for path in (ROOT / "atx_assets_tests" / "system" / "faults").glob("test_*.py"):
        file = f"atx_assets_tests/system/faults/{path.name}"
        parsed = ast.walk(ast.parse(path.read_text()))
        tests = [node.name for node in parsed if isinstance(node, ast.FunctionDef)]
        ours = {f"{file}::{name}" for name in tests if name.startswith("test")}
        assert ours
        assert file in names or ours <= names, ours - names


def test_nothing_is_lost_but_what_is_meant_to_go_or_was_nowhere_else() -> None:
    lost, column = [], -1
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            column = -1
        elif "lost" in cells:
            column = cells.index("lost")
        elif column >= 0 and not line.startswith("|-"):
            lost.append(cells[column])
    assert lost.count("nothing") > 90
    assert {cell for cell in lost if cell != "nothing"} == {
        "history older than `ATX_KEEP_DAYS`, as intended",
        "what came after the backup",
        "older versions of the model; a backup has them",
    }
