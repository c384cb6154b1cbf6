"""The tables of `dnal learn`: the search space before, base and compact network and what was asked after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dnal.cli.display import line, percent, table
from dnal.costs.budget import amount
from dnal.costs.cost import COSTS

if TYPE_CHECKING:
    from dnal.changes import Change
    from dnal.pipeline.result import Learned
    from dnal.report.paid import Paid


def space_line(variables: int, groups: int, branches: int, removable_share: float) -> str:
    """What may vary, in one sentence."""
    depth = f" and {branches} branches" if branches else ""
    return (
        f"{variables:,} channel variables in {groups} groups{depth}; "
        f"{percent(removable_share)} of the MACs are in layers that can shrink"
    )


def print_ranges(ranges: Sequence[Mapping[str, Any]]) -> None:
    """Per cost: what the base has, the least possible, and what each budget asks."""
    bounded = any(value is not None for r in ranges for value in r["asked"])
    rows = [
        (
            COSTS[r["cost"]].words,
            amount(r["cost"], r["base"]),
            *(
                "-" if value is None else f"{amount(r['cost'], value)} ({percent(value / r['base'])})"
                for value in (r["least"], *(r["asked"] if bounded else ()))
            ),
        )
        for r in ranges
    ]
    budgets = len(ranges[0]["asked"]) if bounded else 0
    table([("", False), ("base", True), ("least possible", True), *[("asked", True)] * budgets], rows)


def print_figures(
    base: Mapping[str, Any],
    compact: Mapping[str, Any],
    batch: int,
    backend: str,
    change: Change,
    *,
    kind: str = "images",
    objective: str = "classification",
) -> None:
    """MACs, parameters, measured latency and the metric, and memory where it was bounded; what was not measured is a
    dash. Then what they do not tell of a ``change``; ``kind``: of the data, and what is learnt from them."""
    from dnal.data import KINDS
    from dnal.data.objective import OBJECTIVES

    aim, images = OBJECTIVES[objective], KINDS[kind].counted(batch)
    rows = [
        (
            cost.described(images, backend),
            *(_shown(name, row.get(cost.figure)) for row in (base, compact)),
            compared(base.get(cost.figure), compact.get(cost.figure)),
        )
        for name, cost in COSTS.items()
        if cost.always or cost.figure in compact
    ]
    old, new = base.get(aim.figure), compact.get(aim.figure)
    rows.append((f"{aim.words} (test data)", aim.shown(old), aim.shown(new), aim.change(old, new)))
    table([("", False), ("base", True), (change.word, True), (f"{change.word} / base", True)], rows)
    for remark in change.remarks():
        line(remark)


def print_apart(apart: Mapping[str, Mapping[str, float | None]]) -> None:
    """Of each sort of examples its figures."""
    names = list(next(iter(apart.values())))
    rows = [
        (sort, *("-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
                 for value in figures.values()))
        for sort, figures in apart.items()
    ]  # fmt: skip
    table([("", False), *((name.replace("_", " "), True) for name in names)], rows)


def print_constraints(constraints: Sequence[Mapping[str, Any]]) -> None:
    """What was asked and what was got, per constraint; beside a measured figure, what was predicted."""
    if not constraints:
        return
    measured = any("predicted" in c for c in constraints)
    rows = [
        (str(c["bound"]), amount(c["cost"], c["asked"]), amount(c["cost"], c["got"]))
        + ((amount(c["cost"], c["predicted"]) if "predicted" in c else "",) if measured else ())
        + (("yes" if c["got"] <= c["asked"] else "within 5 %") if c["holds"] else "NO",)
        for c in constraints
    ]
    line()
    headings = [("budget", False), ("asked", True), ("got", True)] + [("predicted", True)] * measured
    table([*headings, ("holds", False)], rows)


def print_trade_off(results: Sequence[Learned], objective: str = "classification") -> None:
    """A row per budget; of the latency also its share of the base's, which was measured beside it."""
    from dnal.data.objective import OBJECTIVES

    aim = OBJECTIVES[objective]
    rows = [
        (
            str(each.settings["budget"]),
            amount("macs", each.figures.compact.macs),
            amount("params", each.figures.compact.params),
            f"{amount('latency', each.figures.compact.latency_ms)} "
            f"({compared(each.figures.base.latency_ms, each.figures.compact.latency_ms)})",
            aim.shown(each.figures.compact.metric),
            "yes" if all(c["holds"] for c in each.constraints) else "NO",
        )
        for each in results
    ]
    before = results[0].figures.base
    costs = [amount(cost, before.costs[COSTS[cost].figure]) for cost in ("macs", "params", "latency")]
    rows.insert(0, ("base", costs[0], costs[1], costs[2], aim.shown(before.metric), ""))
    names = ("MACs", "parameters", "latency (of base)", aim.words)
    table([("asked", False), *((name, True) for name in names), ("holds", False)], rows)


def print_paid(found: Paid) -> None:
    """A row per method, how far the one that was asked for is ahead of it, and what follows."""
    own = found.rows[0].name
    apart = f"{own} minus it, {found.unit}" if found.unit else f"{own} minus it"
    names = ("MACs", found.words, apart, "interval", "seconds")
    rows = [(row.name, row.macs, row.metric, row.apart, row.interval, row.seconds, row.standing) for row in found.rows]
    table([("method", False), *((name, True) for name in names), (f"{own} is", False)], rows)
    line()
    for sentence in (
        found.verdict,
        *found.advice,
        "The intervals are about the test examples, not about another seed.",
    ):
        line(sentence)


def _shown(cost: str, value: float | None) -> str:
    return "-" if value is None else amount(cost, value)


def compared(base: float | None, compact: float | None) -> str:
    """The ratio."""
    return "" if base is None or compact is None or not base else percent(compact / base)
