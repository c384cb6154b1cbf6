"""Imports point downwards: from a room to those below it, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import dnal

SOURCE = Path(dnal.__file__).parent
ROOMS = (
    *("base", "space", "architecture", "settings", "gates", "latency", "train", "selection", "changes", "supernet"),
    *("repair", "methods", "techniques", "hyper", "costs", "pipeline", "data", "models", "loggers", "run", "export"),
    *("report", "analyses", "predictors", "search", "sweep", "bench", "doctor", "theory", "studies", "cli"),
)
"""From the ground floor up."""
FACE = ("dnal", "dnal.__main__")
"""What a user imports and starts: it stands on everything."""


def named(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {named(path): path for path in SOURCE.rglob("*.py")}


def of_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes(node: ast.AST, *, types: bool) -> Iterator[ast.AST]:
    """All nodes of a tree, without those that are for type checkers only, unless asked for."""
    for child in ast.iter_child_nodes(node):
        if types or not of_types_only(child):
            yield child
            yield from nodes(child, types=types)


def imported(name: str, *, types: bool) -> set[str]:
    """The modules of dnal that a module imports, wherever in it."""
    found = set()
    for node in nodes(ast.parse(FILES[name].read_text(encoding="utf-8")), types=types):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name} has a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in FILES else node.module)
    return {module for module in found if module in FILES and module != name}


def room(name: str) -> str:
    return name.split(".")[1]


def test_every_file_is_in_a_room() -> None:
    assert {room(name) for name in FILES if name not in FACE} == set(ROOMS)


def test_no_import_points_upwards() -> None:
    upwards = [
        f"{name} -> {other}"
        for name in FILES
        if name not in FACE
        for other in imported(name, types=True)
        if other in FACE or ROOMS.index(room(other)) > ROOMS.index(room(name))
    ]
    assert not upwards


def test_no_imports_make_a_circle() -> None:
    left = {name: imported(name, types=False) for name in FILES if name != "dnal"}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left


def test_the_map_of_the_rooms_shows_them_from_the_ground_floor_up() -> None:
    text = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    shown = [name.strip("`/, ").removesuffix(".py") for row in rows for name in row.split("`, `")]
    assert shown == list(ROOMS)
