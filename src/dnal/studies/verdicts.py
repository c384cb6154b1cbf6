"""The verdicts of the committed rows, a JSON file per study beside this one: the list needs no study to be imported.

``python benchmarks/verdicts.py`` writes them from ``benchmarks/studies/NAME.csv``; a test holds them to these rows.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from dnal.base.version import VERSION
from dnal.studies.check import verdict_of
from dnal.studies.study import Row, Study

FOLDER = "verdicts"


def described(name: str, study: Study, rows: Sequence[Row]) -> dict[str, Any]:
    """What rows say, as plain values."""
    checks = study.checks(rows) if rows else []
    return {
        "study": name,
        "ours": study.ours(),
        "verdict": verdict_of(checks),
        "rows": len(rows),
        "seeds": len({row["seed"] for row in rows}),
        "checks": [check.document() for check in checks],
        "dnal": VERSION,
    }


def committed(name: str) -> dict[str, Any] | None:
    """What the committed rows of a study of ours say; None where there are none."""
    file = files("dnal.studies") / FOLDER / f"{name}.json"
    if "/" in name or not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def claim_at(place: str) -> str:
    """The claim of a study of ours in our words, by its place, "dnal.studies.claims.NAME:CLASS": read from the file,
    since an import would take seconds."""
    module, _, name = place.partition(":")
    package, _, file = module.rpartition(".")
    tree = ast.parse((files(package) / f"{file}.py").read_text(encoding="utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return (ast.get_docstring(found) or "").partition("\n")[0]
