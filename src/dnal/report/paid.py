"""Did learning pay? A run beside those that reach the same budget by other methods, from the same base."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dnal.base.statistics import Interval, ahead_or_behind
from dnal.costs.cost import COSTS
from dnal.data.objective import Objective
from dnal.pipeline.against import SCRATCH
from dnal.pipeline.plan import BASE
from dnal.report.numbers import quantity, shown
from dnal.report.source import Source, finite
from dnal.run.comparison import Compared, comparisons
from dnal.run.trust import code_in, trusting
from dnal.train.outcomes import Outcomes, difference
from dnal.train.technique import PHASES

CLOSE = 1e-4
"""How near the mean over single examples must come to what a result says of all."""
STANDINGS = ("ahead", "behind", "cannot be told")
CAVEAT = (
    "An interval (95 %, paired) is about the test examples: in how far others of their kind would say the same of "
    "these very networks. It says nothing of another seed, with which all of them would be other networks; --seed 1, "
    "2, ... answers that."
)
SECONDS = (
    f"Seconds are those of all training: of the base, which is shared, of the choice and of the retraining; {SCRATCH} "
    "has no base, and trains for as many epochs."
)


@dataclass(frozen=True)
class Row:
    """A method in the table.

    Attributes:
        number: of the run on the page, from 1. macs, metric, seconds: as texts; a dash where they are not known.
        apart: the metric of the run that was asked for minus this one's, as a text; empty for that run itself.
        interval: of it, as a text; empty where there is none. standing: of the run that was asked for.
    """

    name: str
    folder: Path
    number: int
    macs: str
    metric: str
    apart: str
    interval: str
    seconds: str
    standing: str


@dataclass(frozen=True)
class Paid:
    """What a comparison says.

    Attributes:
        words: what is measured. unit: of its differences. rows: the run that was asked for, then the others.
        verdict: one sentence. advice: what to do where another method is ahead, a sentence each.
    """

    folder: Path
    words: str
    unit: str
    rows: list[Row]
    verdict: str
    advice: list[str]


def paid_of(sources: Sequence[Source]) -> list[Paid]:
    """What each comparison among runs says."""
    by_folder = {source.folder: source for source in sources}
    numbers = {source.folder: number for number, source in enumerate(sources, start=1)}
    found = comparisons({folder: source.settings for folder, source in by_folder.items()})
    return [_paid(one, by_folder, numbers) for one in found if one.others]


def _paid(compared: Compared, sources: dict[Path, Source], numbers: dict[Path, int]) -> Paid:
    ours = sources[compared.run]
    aim, own = ours.config.aim, compared.run.name
    others = {name: sources[folder] for name, folder in compared.others.items()}
    apart = {name: _apart(ours, other) for name, other in others.items()}
    rows = [_row(own, ours, numbers[compared.run], ours, None)]
    rows += [_row(name, other, numbers[other.folder], ours, apart[name]) for name, other in others.items()]
    unit = "points" if aim.is_share else ""
    return Paid(compared.run.parent, aim.words, unit, rows, _verdict(own, ours, others, apart), _advice(others, apart))


def _apart(ours: Source, other: Source) -> Interval | None:
    """The metric of ours minus the other's, with its interval; None where there is nothing to compute one from."""
    alike = ours.config.aim == other.config.aim and ours.config.data_sha256 == other.config.data_sha256
    return difference(_outcomes(ours), _outcomes(other)) if alike else None


def _outcomes(source: Source) -> Outcomes | None:
    """What a run's network made of each test example, if that is what its result says of all."""
    metric = source.metric[1]
    if metric is None or source.details is None or source.details.examples is None:
        return None
    found = source.details.examples.outcomes
    mean = math.fsum(found.values) / len(found.values)
    return found if math.isclose(mean, metric, rel_tol=CLOSE, abs_tol=CLOSE) else None


def _row(name: str, source: Source, number: int, ours: Source, apart: Interval | None) -> Row:
    aim, macs = ours.config.aim, finite(source.result.compact.get(COSTS["macs"].figure))
    phases = [phase for phase in PHASES if name != SCRATCH or phase != BASE]
    seconds = [finite(source.result.seconds.get(phase)) for phase in phases]
    told = [second for second in seconds if second is not None]
    said, own = source.metric[1], ours.metric[1]
    apart_by = None if said is None or own is None or source is ours else own - said
    return Row(
        name,
        source.folder,
        number,
        quantity("macs", macs),
        shown(aim, said) if source.finished else "not finished",
        "" if apart_by is None else _signed(aim, apart_by),
        "" if apart is None else f"{_signed(aim, apart.low)} to {_signed(aim, apart.high)}",
        f"{sum(told):.1f}" if told else "–",
        "" if apart is None else ahead_or_behind(apart.low, apart.high),
    )


def _signed(aim: Objective, value: float) -> str:
    return (f"{aim.factor * value:+.2f}" if aim.is_share else f"{value:+.4f}").replace("-", "−")


def _verdict(own: str, ours: Source, others: dict[str, Source], apart: dict[str, Interval | None]) -> str:
    if not ours.finished:
        return f"Whether learning paid is not known yet: {own} is not finished."
    waiting = [name for name, source in others.items() if not source.finished]
    told = {name: found for name, found in apart.items() if found is not None}
    unknown = [name for name in others if name not in told and name not in waiting]
    by = {
        which: [name for name, found in told.items() if ahead_or_behind(found.low, found.high) == which]
        for which in STANDINGS
    }
    parts = []
    if by["behind"]:
        parts.append(f"{_listed(by['behind'])} {_are(by['behind'])} ahead of it")
    if by["ahead"]:
        parts.append(f"it is ahead of {_listed(by['ahead'])}")
    if by["cannot be told"]:
        several = "s" if len(by["cannot be told"]) > 1 else ""
        parts.append(f"the interval{several} to {_listed(by['cannot be told'])} include{'' if several else 's'} zero")
    if unknown:
        parts.append(
            f"with {_listed(unknown)} there is no interval, since outcomes on the same single test examples are not "
            "known of both"
        )
    if waiting:
        parts.append(f"{_listed(waiting)} {_are(waiting)} not finished")
    number = next((found.number for found in told.values()), 0)
    on = f"on these {number:,} test examples " if number else ""
    if by["behind"]:
        start = f"Learning did not pay {on}with {own}"
    elif len(by["ahead"]) == len(others):
        start = f"Learning paid {on}with {own}"
    else:
        start = f"Whether learning paid with {own} cannot be told {on}".rstrip()
    return f"{start}: {'; '.join(parts)}."


def _advice(others: dict[str, Source], apart: dict[str, Interval | None]) -> list[str]:
    """Which network to take instead."""
    told = {name: found for name, found in apart.items() if found is not None}
    behind = {name: found for name, found in told.items() if ahead_or_behind(found.low, found.high) == "behind"}
    if not behind:
        return []
    best = min(behind, key=lambda name: behind[name].value)
    folder = str(others[best].folder)
    export = shlex.join(["dnal", "export", folder, *trusting(code_in(others[best].settings))])
    return [
        f"The network of {best} is at hand: dnal.load({folder!r}) is it, and `{export}` writes it as a file for other "
        "programs."
    ]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
