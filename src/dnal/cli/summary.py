"""The tables of `dnal learn`: the search space before, base and compact network and what was asked after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dnal.cli.display import amount, line, percent, table

if TYPE_CHECKING:
    from dnal.learning import Learned

HEADINGS = {"macs": "MACs", "params": "parameters", "memory": "memory (bytes)", "latency": "latency (ms)"}


def space_line(variables: int, groups: int, branches: int, removable_share: float) -> str:
    """What may vary, in one sentence."""
    depth = f" and {branches} residual branches" if branches else ""
    return (
        f"{variables:,} channel variables in {groups} groups{depth}; "
        f"{percent(removable_share)} of the MACs are in layers that can shrink"
    )


def print_ranges(ranges: Sequence[Mapping[str, Any]]) -> None:
    """Per cost: what the base has, the least possible, and what each budget asks."""
    rows = [
        (
            HEADINGS.get(r["cost"], r["cost"]),
            amount(r["base"]),
            f"{amount(r['least'])} ({percent(r['least'] / r['base'])})",
            *("-" if asked is None else f"{amount(asked)} ({percent(asked / r['base'])})" for asked in r["asked"]),
        )
        for r in ranges
    ]
    budgets = len(ranges[0]["asked"])
    table([("", False), ("base", True), ("least possible", True), *[("asked", True)] * budgets], rows)


def print_figures(base: Mapping[str, Any], compact: Mapping[str, Any], batch: int, backend: str) -> None:
    """MACs, parameters, measured latency and accuracy, and memory where it was bounded; what was not measured is a
    dash."""
    images = "one image" if batch == 1 else f"{batch} images"
    rows = [
        (heading, show(base.get(key)), show(compact.get(key)), compared(base.get(key), compact.get(key), key))
        for heading, key, show in (
            ("MACs", "macs", amount),
            ("parameters", "params", amount),
            (f"memory (bytes, {images})", "memory", amount),
            (f"latency (ms, {images}, {backend})", "latency_ms", amount),
            ("accuracy (test data)", "accuracy", percent2),
        )
        if key in compact or key != "memory"
    ]
    table([("", False), ("base", True), ("compact", True), ("compact / base", True)], rows)


def print_constraints(constraints: Sequence[Mapping[str, Any]]) -> None:
    """What was asked and what was got, per constraint; beside a measured figure, what was predicted."""
    if not constraints:
        return
    measured = any("predicted" in c for c in constraints)
    rows = [
        (str(c["bound"]), amount(c["asked"]), amount(c["got"]))
        + ((amount(c.get("predicted")) if "predicted" in c else "",) if measured else ())
        + (("yes" if c["got"] <= c["asked"] else "within 5 %") if c["holds"] else "NO",)
        for c in constraints
    ]
    line()
    headings = [("budget", False), ("asked", True), ("got", True)] + [("predicted", True)] * measured
    table([*headings, ("holds", False)], rows)


def print_trade_off(results: Sequence[Learned]) -> None:
    """A row per budget, the base above them."""
    first = results[0]
    rows = [
        (name, amount(row["macs"]), amount(row["params"]), amount(row["latency_ms"]), percent2(row["accuracy"]), holds)
        for name, row, holds in [
            ("base", first.base, ""),
            *((_asked(each), each.compact, _all_hold(each.constraints)) for each in results),
        ]
    ]
    names = ("MACs", "parameters", "latency (ms)", "accuracy")
    table([("asked", False), *((name, True) for name in names), ("holds", False)], rows)


def _asked(learned: Learned) -> str:
    return str(learned.settings["budget"])


def _all_hold(constraints: Sequence[Mapping[str, Any]]) -> str:
    return "yes" if all(c["holds"] for c in constraints) else "NO"


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
