"""The rows of a benchmark as tables for people, in Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dnal.base.rows import Row, rows_are
from dnal.base.statistics import Estimate, ahead_or_behind, estimate, interval
from dnal.bench.comparison import paired, pooled, spread
from dnal.bench.jobs import Run
from dnal.bench.results import metric_of
from dnal.bench.suite import OURS, SUITES, Suite

LEAST, MOST = 0.97, 1.0
"""What a row must use of its budget."""
SHORTEST = 0.01
"""Seconds: rows are rounded to so many."""

Accuracies = dict[str, dict[int, float]]
"""entry -> seed -> accuracy, or another metric, on the test data, in %."""


class Standing(NamedTuple):
    """Where dnal stands in a cell: the entry with the highest mean, and by how much dnal is behind it."""

    first: str
    behind: Estimate

    @property
    def holds(self) -> bool:
        """First, or within one standard error of the first."""
        return self.first == OURS or self.behind.mean <= self.behind.error


def accuracies(rows: Mapping[Run, Row], network: str, share: float, taught: bool) -> Accuracies:
    """What a cell of the benchmark holds."""
    found: Accuracies = {}
    for run, row in rows.items():
        if (run.network, run.share, run.taught) == (network, share, taught):
            found.setdefault(run.entry, {})[run.seed] = 100 * float(row["accuracy"])
    return found


def standing(cell: Accuracies) -> Standing | None:
    """Over the seeds that all entries have; None where dnal, all others, or a second seed is missing."""
    if OURS not in cell or len(cell) < 2:
        return None
    seeds = set.intersection(*(set(own) for own in cell.values()))
    if len(seeds) < 2:
        return None
    common = {entry: {seed: own[seed] for seed in seeds} for entry, own in cell.items()}
    first = max(common, key=lambda entry: statistics.fmean(common[entry].values()))
    return Standing(first, paired(common[first], common[OURS]))


def pooled_differences(rows: Mapping[Run, Row], taught: bool, network: str | None = None) -> dict[str, Estimate]:
    """entry -> dnal minus it, over all networks, or one, and all shares and seeds.

    Over several networks they count as drawn like the seeds: how far one differs from another is part of the error,
    for a reader with a network of their own.
    """
    values: dict[str, dict[tuple[tuple[str, int], float], float]] = {}
    for run, row in rows.items():
        if run.taught == taught and network in (None, run.network):
            values.setdefault(run.entry, {})[(run.network, run.seed), run.share] = 100 * float(row["accuracy"])
    ours = values.get(OURS, {})
    return {entry: pooled(ours, own) for entry, own in values.items() if entry != OURS}


def teaching_of(rows: Iterable[Row]) -> tuple[tuple[bool, str], tuple[bool, str]]:
    """Whether the base teaches, and what that is called: after the technique by which it does in the rows' suites."""
    suites = [SUITES.get(row.get("suite", "")) for row in rows]
    by = " or ".join(dict.fromkeys(Suite.teacher if suite is None else suite.teacher for suite in suites))
    return (False, f"without {by}"), (True, f"with {by}")


def told(difference: Estimate) -> str:
    """What an interval of dnal minus another tells."""
    return ahead_or_behind(*interval(difference))


def search_cost(rows: Iterable[Row]) -> Estimate:
    """(base + choosing) / base, in time."""
    return estimate([1 + float(row["choosing_seconds"]) / max(SHORTEST, float(row["base_seconds"])) for row in rows])


def document(rows: Mapping[Run, Row], command: str, missing: int, impossible: Mapping[Run, str]) -> str:
    """table.md.

    Args:
        command: what made the rows. missing: how many are not there yet. impossible: why some cannot be made.
    """
    lines = [f"# `{command}`", "", _provenance(rows.values()), ""]
    if missing:
        lines += [f"**Not finished: {rows_are(missing)} missing.**", ""]
    if impossible:
        lines += [
            f"{len(impossible)} rows cannot be made:",
            "",
            *(f"* `{run.name}`: {why}" for run, why in impossible.items()),
            "",
        ]
    for network, share in dict.fromkeys((run.network, run.share) for run in rows):
        lines += _cell(rows, network, share)
    return "\n".join([*lines, *_pooled(rows), *_costs(rows)]) + "\n"


def _provenance(rows: Iterable[Row]) -> str:
    rows = list(rows)

    def each_of(*names: str) -> str:
        return ", ".join(sorted({" ".join(row[name] for name in names) for row in rows}))

    samples = sorted({(row["network"], int(row["samples"])) for row in rows})
    return (
        f"dnal {each_of('dnal')}, torch {each_of('torch')}, {each_of('device')}. Test {_metrics(rows)} in %: mean "
        "(standard deviation over seeds); differences: mean (standard error) of pairs with the same base. The base is "
        "trained once per network and seed and shared. Training samples in all, base and choosing included: "
        + "; ".join(
            f"{network} {min(own):,}" + (f" to {max(own):,}" if max(own) > min(own) else "")
            for network in dict.fromkeys(name for name, _ in samples)
            if (own := [count for name, count in samples if name == network])
        )
        + ". The learning rate of the retraining was chosen per method on the validation data of the first seed; for "
        "nothing, as was the lambda of `paper`; so is the base where it only teaches. The test data are used "
        "once per row."
    )


def _cell(rows: Mapping[Run, Row], network: str, share: float) -> list[str]:
    own = [row for run, row in rows.items() if (run.network, run.share) == (network, share)]
    teaching = teaching_of(own)
    cells = [accuracies(rows, network, share, taught) for taught, _ in teaching]
    base = {run.seed: 100 * float(row["base_accuracy"]) for run, row in rows.items() if run.network == network}
    lines = [
        f"## {network}, {share:g} % of the MACs",
        "",
        f"The base, {own[0]['base_macs'].partition('.')[0]} MACs: {_mean(base)}; {_metrics(own)} in %.",
        "",
        f"| | {' | '.join(f'{title} | dnal minus it' for _, title in teaching)} | budget used, % | rates |",
        "|---|---|---|---|---|---|---|",
    ]
    names = dict.fromkeys(entry for cell in cells for entry in cell)
    for entry in sorted(names, key=lambda name: _order(cells, name)):
        mine = [row for row in own if row["entry"] == entry]
        columns = [f"`{entry}`"]
        for cell in cells:
            columns.append(_mean(cell.get(entry, {})))
            columns.append("" if entry == OURS else _difference(paired(cell.get(OURS, {}), cell.get(entry, {}))))
        columns += [_used(mine), ", ".join(sorted({row["rate"] for row in mine}, key=float))]
        lines.append(f"| {' | '.join(columns)} |")
    lines.append("")
    for cell, (_, title) in zip(cells, teaching, strict=True):
        if (stands := standing(cell)) is not None:
            lines += [f"{title.capitalize()}: {_verdict(stands)}", ""]
    return lines


def _pooled(rows: Mapping[Run, Row]) -> list[str]:
    networks, teaching = list(dict.fromkeys(run.network for run in rows)), teaching_of(rows.values())
    lines = [
        "## All cells together",
        "",
        f"`dnal` minus each, points of {_metrics(rows.values())}, with the 95 % interval (Student's t; one observation "
        "per base, the mean over its shares). `dnal` is ahead or behind where the interval does not hold 0.",
        "",
    ]
    for network in [None, *networks] if len(networks) > 1 else [None]:
        found = [pooled_differences(rows, taught, network) for taught, _ in teaching]
        lines += [
            f"| {network or ''} | {' | '.join(f'{title} | `dnal` is' for _, title in teaching)} |",
            "|---|---|---|---|---|",
        ]
        for entry in dict.fromkeys(entry for each in found for entry in each):
            shown = [f"{_interval(each[entry])} | {told(each[entry])}" if entry in each else " | " for each in found]
            lines.append(f"| `{entry}` | {' | '.join(shown)} |")
        lines.append("")
    return lines


def _metrics(rows: Iterable[Row]) -> str:
    return " and ".join(dict.fromkeys(map(metric_of, rows)))


def _costs(rows: Mapping[Run, Row]) -> list[str]:
    lines = ["## Search cost: (base + choosing) / base, in time", "", "| | mean | largest |", "|---|---|---|"]
    for entry in dict.fromkeys(run.entry for run in rows):
        own = [row for run, row in rows.items() if run.entry == entry and not row["epochs"].startswith("0+")]
        if not own:
            lines.append(f"| `{entry}` | no base | |")
            continue
        largest = max(search_cost([row]).mean for row in own)
        lines.append(f"| `{entry}` | {search_cost(own).mean:.2f} | {largest:.2f} |")
    return lines


def _order(cells: Sequence[Accuracies], entry: str) -> tuple[float, ...]:
    """Best first, by the first of the tables, then by the next."""
    return tuple(-statistics.fmean(cell[entry].values()) if entry in cell else math.inf for cell in cells)


def _mean(values: Mapping[int, float]) -> str:
    if not values:
        return ""
    deviation = spread(values.values())
    return f"{statistics.fmean(values.values()):.2f}" + ("" if math.isnan(deviation) else f" ({deviation:.2f})")


def _difference(found: Estimate) -> str:
    if not found.number:
        return ""
    return f"{found.mean:+.2f}" + ("" if math.isnan(found.error) else f" ({found.error:.2f})")


def _interval(found: Estimate) -> str:
    low, high = interval(found)
    return _difference(Estimate(found.mean, math.nan, found.number)) + (
        "" if math.isnan(low) else f" [{low:+.2f}, {high:+.2f}]"
    )


def _used(rows: Sequence[Row]) -> str:
    used = [float(row["used"]) for row in rows]
    text = f"{100 * min(used):.2f} to {100 * max(used):.2f}"
    return text if min(used) >= LEAST and max(used) <= MOST else f"**{text}**"


def _verdict(stands: Standing) -> str:
    if stands.first == OURS:
        return "`dnal` is first."
    gap = _difference(stands.behind).lstrip("+")
    how = "within one standard error" if stands.holds else "more than one standard error"
    return f"`{stands.first}` is first; `dnal` is {gap} points behind, {how}."
