"""The modules of the functions import each other in one direction (docs/adr/0001)."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

FUNCTIONS = Path(__file__).parents[2] / "functions"
MODULES = {  # by the names under which they are imported
    ".".join(path.relative_to(FUNCTIONS).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FUNCTIONS.rglob("*.py")
    if path.parts[-2] != "packing"
}


def imported(module: str) -> set[str]:
    names = {module}
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names & MODULES.keys() - {module}


def test_modules_import_each_other_in_one_direction() -> None:
    graph = {module: imported(module) for module in MODULES}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError
    for module, names in graph.items():
        assert not {"start", "callback"} <= {name.partition(".")[0] for name in {module, *names}}
