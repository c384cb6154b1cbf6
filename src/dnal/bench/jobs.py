"""What there is to do in a suite, and what has to be done before what."""

from __future__ import annotations

from dataclasses import dataclass

from dnal.base.errors import UserError
from dnal.bench.suite import Entry, Epochs, Network, Suite
from dnal.train.phase import WHOLE


@dataclass(frozen=True)
class Base:
    """A trained network that all methods start from, and are taught by."""

    network: str
    seed: int

    @property
    def name(self) -> str:
        return f"base_{self.network}_seed{self.seed}"


@dataclass(frozen=True)
class Penalty:
    """The lambda of the method ``paper`` that comes nearest a share of the MACs, found on the first seed."""

    network: str
    share: float

    @property
    def name(self) -> str:
        return f"lambda_{self.network}_{self.share:g}"


@dataclass(frozen=True)
class Run:
    """A row of the table. ``share``: of the MACs, in percent. ``taught``: whether the base teaches."""

    network: str
    share: float
    seed: int
    taught: bool
    entry: str

    @property
    def name(self) -> str:
        return f"{self.network}_{self.share:g}_{'taught' if self.taught else 'alone'}_{self.entry}_seed{self.seed}"


WorkItem = Base | Penalty | Run


class Impossible(UserError):
    """A row that cannot be made: with the same packages every try ends the same."""


def runs(suite: Suite) -> list[Run]:
    """All rows, in the order of the table: what chooses a learning rate for others comes first in each cell."""
    return [
        Run(network.name, share, seed, taught, entry.name)
        for network in suite.networks
        for share in network.shares
        for seed in suite.seeds
        for taught in suite.taught
        for entry in suite.entries
    ]


def leader(suite: Suite, run: Run) -> Run:
    """The run that tries every learning rate of the retraining for this one: the first share and the first seed."""
    return Run(run.network, suite.network(run.network).shares[0], suite.seeds[0], run.taught, run.entry)


def needs(suite: Suite, job: WorkItem) -> list[WorkItem]:
    """What must be done before a job."""
    if isinstance(job, Base):
        return []
    if isinstance(job, Penalty):
        return [Base(job.network, suite.seeds[0])]
    before: list[WorkItem] = [Base(job.network, job.seed)]
    if suite.entry(job.entry).method == "paper":
        before.append(Penalty(job.network, job.share))
    first = leader(suite, job)
    return before if first == job else [*before, first]


def jobs(suite: Suite) -> list[WorkItem]:
    """Everything of a suite, bases first, then what tries learning rates (others wait for it), then the rest."""
    rows = runs(suite)
    before = list(dict.fromkeys(job for row in rows for job in needs(suite, row)))
    bases = [job for job in before if isinstance(job, Base)]
    penalties = [job for job in before if isinstance(job, Penalty)]
    leaders = [row for row in rows if leader(suite, row) == row]
    return [*bases, *penalties, *leaders, *(row for row in rows if row not in set(leaders))]


def new_weights(entry: Entry) -> bool:
    """Whether the retraining of an entry starts from new weights, or from those of no training."""
    return entry.reinitialize or entry.without_base


def part_of(network: Network, entry: Entry | None, phase: int, epochs: Epochs) -> tuple[float, float]:
    """The part of the schedule that a phase covers: base (0), choosing (1) or retraining (2).

    Args:
        entry: None for the base. epochs: of the three phases that the entry uses.
    """
    if network.schedule_over == "phase" or (entry is not None and new_weights(entry)):
        return WHOLE
    total, base = sum(network.epochs), network.epochs[0]
    return ((0.0, base / total), (base / total, (base + epochs[1]) / total), ((base + epochs[1]) / total, 1.0))[phase]


def phases(network: Network, entry: Entry, trains: bool) -> tuple[int, int, int]:
    """Epochs of base, choosing and retraining that an entry uses. Their sum is the same for all; those of choosing
    count twice where they take held-out data too. ``trains``: whether the method uses those of choosing."""
    base, choosing, retraining = network.epochs
    if entry.choosing is not None:
        own = max(1, round(entry.choosing * base))
        choosing, retraining = own, choosing + retraining - own
    if not trains:
        choosing, retraining = 0, choosing + retraining
    if entry.held_out:
        choosing, retraining = choosing // 2, retraining + choosing % 2
    if entry.without_base:
        base, retraining = 0, base + retraining
    return base, choosing, retraining - entry.looks
