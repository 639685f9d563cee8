"""The modules of the functions import each other in one direction."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

FUNCTIONS = Path(__file__).parents[2] / "functions"
# The deployed modules, by the name under which they are imported.
MODULES = {
    ".".join(path.relative_to(FUNCTIONS).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FUNCTIONS.rglob("*.py")
    if path.parts[-2] != "packing"
}


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


def test_modules_import_each_other_in_one_direction() -> None:
    graph = {name: set(_imports(name)) - {name} for name in MODULES}

    assert list(TopologicalSorter(graph).static_order())  # raises CycleError
    for name, imported in graph.items():
        functions = {module.partition(".")[0] for module in (name, *imported)}
        assert not {"start", "callback"} <= functions
