"""The functions stay small, and their modules import each other in one direction."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"
# The deployed modules, by the name under which they are imported.
MODULES = {
    ".".join(path.relative_to(FUNCTIONS).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FUNCTIONS.rglob("*.py")
    if path.parts[-2] != "packing"
}


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


def _imports(module: str) -> Iterator[str]:
    """Yield the modules of functions/ that *module* imports."""
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            # "from pages import rendering" imports a module, "from pages import page" does not.
            names = [name for name in members if name in MODULES] or [node.module]
        yield from (name for name in names if name in MODULES)


def test_functions_have_at_most_820_lines_of_code() -> None:
    lines = {name: _lines_of_code(path.read_text("utf-8")) for name, path in MODULES.items()}

    assert len(lines) > 10
    assert sum(lines.values()) <= 820


@pytest.mark.parametrize("function", ["start", "callback"])
def test_flow_fits_one_screen(function: str) -> None:
    tree = ast.parse(MODULES[f"{function}.app"].read_text("utf-8"))
    flows = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]

    assert len(flows) > 1
    assert all((flow.end_lineno or 0) - flow.lineno < 50 for flow in flows)


def test_modules_import_each_other_in_one_direction() -> None:
    graph = {name: set(_imports(name)) - {name} for name in MODULES}

    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize(("function", "other"), [("start", "callback"), ("callback", "start")])
def test_functions_do_not_import_each_other(function: str, other: str) -> None:
    for name in MODULES:
        if name.partition(".")[0] == function:
            assert other not in {imported.partition(".")[0] for imported in _imports(name)}
