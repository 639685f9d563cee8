"""The functions stay small enough to read in a quarter of an hour."""

import ast
from pathlib import Path

FUNCTIONS = Path(__file__).parents[2] / "functions"


def _lines_of_code(source: str) -> int:
    """Count the lines of *source* without docstrings, comments and blank lines."""
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and number not in docstrings
        for number, line in enumerate(source.splitlines(), 1)
    )


def test_the_functions_have_at_most_650_lines_of_code() -> None:
    """Of what is shipped: folders beside the two functions hold what packs them."""
    shipped = (FUNCTIONS, FUNCTIONS / "start", FUNCTIONS / "callback")
    modules = [module for folder in shipped for module in folder.glob("*.py")]

    assert len(modules) > 10
    assert sum(_lines_of_code(module.read_text("utf-8")) for module in modules) <= 650


def test_each_handler_fits_one_screen() -> None:
    for name in ("start", "callback"):
        source = (FUNCTIONS / name / "handler.py").read_text("utf-8")
        handler = next(
            node
            for node in ast.parse(source).body
            if isinstance(node, ast.FunctionDef) and node.name == "handler"
        )
        assert handler.end_lineno is not None
        assert handler.end_lineno - handler.lineno < 50


def test_start_and_callback_never_import_each_other() -> None:
    for name, other in (("start", "callback"), ("callback", "start")):
        for module in (FUNCTIONS / name).glob("*.py"):
            for node in ast.walk(ast.parse(module.read_text("utf-8"))):
                imported = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else []
                )
                assert not [it for it in imported if it.split(".")[0] == other]
