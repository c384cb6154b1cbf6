"""Benchmarks use the package as it is: none assigns to an attribute of what it imports from dnal."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SETTERS = {"setattr", "delattr", "object", "patch"}


def imported(tree: ast.AST) -> set[str]:
    """Names that stand for dnal, its modules, and what is in them."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases = [alias for alias in node.names if alias.name.partition(".")[0] == "dnal"]
            found |= {alias.asname or alias.name.partition(".")[0] for alias in aliases}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "dnal":
            found |= {alias.asname or alias.name for alias in node.names}
    return found


def root(node: ast.expr) -> str | None:
    """The name that an expression of attributes and items begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def changes(text: str) -> list[str]:
    """The places that change something that is imported from dnal."""
    tree = ast.parse(text)
    names, found = imported(tree), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            found += [ast.unparse(node)] if root(node) in names else []
        if isinstance(node, ast.Call) and root(node.func) is not None and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            text_of_dnal = isinstance(first, ast.Constant) and str(first.value).partition(".")[0] == "dnal"
            if called in SETTERS and (text_of_dnal or root(first) in names):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", sorted(BENCHMARKS.rglob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_changes_nothing_of_dnal(path: Path) -> None:
    assert changes(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "plan.RATE = 1", "dnal.pipeline.plan.RATE = 1", "search.table['a'] = 1", "plan.RATE += 1", "del plan.RATE",
        "plan.RATE: int = 1", "setattr(plan, 'RATE', 1)", "a, plan.RATE = 1, 2", "mock.patch('dnal.a.b')",
        "mock.patch.object(plan, 'RATE', 1)", "for plan.RATE in range(3): pass", "Method.gates = True",
    ],
)  # fmt: skip
def test_the_test_sees_what_it_looks_for(line: str) -> None:
    head = (
        "import dnal\nimport dnal.pipeline.plan as plan\nfrom dnal.methods.dnal.method import search\n"
        "from dnal.methods import Method\n"
    )
    assert changes(f"{head}{line}\n")
    assert not changes(f"{head}network.RATE = 1\nplan_ = plan.RATE\n")
