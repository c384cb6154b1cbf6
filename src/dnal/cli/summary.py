"""The closing table: base and compact network side by side, and what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dnal.cli.display import amount, line, percent, table


def print_figures(base: Mapping[str, Any], compact: Mapping[str, Any]) -> None:
    """MACs, parameters, measured latency and accuracy; what was not measured is a dash."""
    rows = [
        (heading, show(base.get(key)), show(compact.get(key)), compared(base.get(key), compact.get(key), key))
        for heading, key, show in (
            ("MACs", "macs", amount),
            ("parameters", "params", amount),
            ("latency (ms, one image)", "latency_ms", amount),
            ("accuracy (test data)", "accuracy", percent2),
        )
    ]
    table([("", False), ("base", True), ("compact", True), ("compact / base", True)], rows)


def print_constraints(constraints: Sequence[Mapping[str, Any]]) -> None:
    """What was asked and what was got, per constraint."""
    rows = [(str(c["bound"]), amount(c["asked"]), amount(c["got"])) for c in constraints]
    if rows:
        line()
        table([("budget", False), ("asked", True), ("got", True)], rows)


def percent2(share: float | None) -> str:
    """A share with two digits after the point."""
    return percent(share, 2)


def compared(base: float | None, compact: float | None, key: str) -> str:
    """The ratio; for the accuracy the difference in points."""
    if base is None or compact is None or not base:
        return ""
    if key == "accuracy":
        return f"{100 * (compact - base):+.2f} points"
    return percent(compact / base)
