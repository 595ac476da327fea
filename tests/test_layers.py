"""Imports go one way: a room never imports one that stands below it, and heavy libraries stay out of light ones."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sparsity_audit

PACKAGE = Path(sparsity_audit.__file__).parent

# From the foundations up to the command line; a room may import those before it and itself.
ROOMS = [
    "version",
    "errors",
    "files",
    "thresholds",
    "resources",
    "schema",
    "specs",
    "checkpoints",
    "models",
    "data",
    "graph",
    "stats",
    "measures",
    "pruning",
    "engine",
    "training",
    "studies",
    "slimming",
    "ratchet",
    "reporters",
    "outputs",
    "plots",
    "selftest",
    "integrations",
    "cli",
]
NO_TORCH = ["schema", "specs", "reporters"]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms that a file imports anywhere, inside functions and for type checking too."""
    modules = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules += (
                [node.module] if node.module != "sparsity_audit" else [f"{node.module}.{a.name}" for a in node.names]
            )
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return {module.split(".")[1] for module in modules if module.startswith("sparsity_audit.")}


# An installed package holds rules/ and zoo/ too, which have no code.
APART = ("__init__", "__main__", "rules", "zoo")
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) not in APART]


def test_every_room_is_known() -> None:
    assert {room_of(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    allowed = set(ROOMS[: ROOMS.index(room_of(path)) + 1])
    if room_of(path) == "reporters":
        allowed = {"schema", "errors", "reporters"}
    assert imported_rooms(path) <= allowed


def module_name(path: Path) -> str:
    return ".".join(("sparsity_audit", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    """Return the package's own modules that a file imports anywhere, inside functions too."""
    known = {module_name(file) for file in PACKAGE.rglob("*.py")}
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & known) - {module_name(path)}


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {module_name(path): imported_modules(path) for path in FILES}
    while graph:
        free = {name for name, imports in graph.items() if not imports & graph.keys()}
        assert free, f"circular imports among {sorted(graph)}"
        graph = {name: imports for name, imports in graph.items() if name not in free}


@pytest.mark.parametrize("room", NO_TORCH)
def test_light_rooms_import_no_torch(room: str) -> None:
    names = [
        ".".join(("sparsity_audit", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in FILES
        if room_of(path) == room
    ]
    code = f"import sys, importlib; [importlib.import_module(n) for n in {names!r}]; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name not in ("run", "compare", "prune"):  # lists of options
            assert (node.end_lineno or 0) - node.lineno < 45, f"{node.name} is too long"
