"""What a job found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from dnal.architecture.architecture import Architecture
from dnal.base.errors import UserError
from dnal.base.statistics import Interval
from dnal.changes import Change
from dnal.space.space import Space
from dnal.train.outcomes import Outcomes, difference


@dataclass(frozen=True)
class Figures:
    """A network in figures.

    Attributes:
        costs: those that every job reports and those that were bounded, by the names of their figures
            (:class:`dnal.costs.cost.Cost`).
        metric: what the metric says of it, higher is better.
    """

    costs: dict[str, float]
    metric: float

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one example."""
        return int(self.costs["macs"])

    @property
    def params(self) -> int:
        """Number of parameters."""
        return int(self.costs["params"])

    @property
    def latency_ms(self) -> float:
        """Milliseconds of a batch of ``deploy_batch_size`` on ``backend``, measured."""
        return self.costs["latency_ms"]

    @property
    def memory(self) -> int | None:
        """Peak bytes of such a batch; None where it was not bounded."""
        return int(self.costs["memory"]) if "memory" in self.costs else None


@dataclass(frozen=True)
class BaseAndCompact:
    """The network before and after, in figures.

    Attributes:
        metric: the name of what was measured: "accuracy", or that of the user's function.
        data: on which data: "test", or "validation" where no test data were given.
    """

    base: Figures
    compact: Figures
    metric: str = "accuracy"
    data: str = "test"

    def rows(self) -> dict[str, dict[str, float]]:
        """Of "base" and "compact" every figure by its name, as plain values."""
        both = {"base": self.base, "compact": self.compact}
        return {name: {**figures.costs, self.metric: figures.metric} for name, figures in both.items()}


@dataclass(frozen=True)
class Learned:
    """What a job found.

    Attributes:
        network: the compact network, trained, in eval mode.
        change, space: what became of the network, and what might have. architecture: which channels stay.
        history: one record per epoch of all phases.
        figures: what base and compact network cost, and what the metric says of them.
        constraints: per bound: cost, bound, asked and got (in the cost's unit), holds; for the latency, which is
            measured, also what was predicted, and it holds up to 5 %.
        settings: everything decided, as plain values. seconds: per phase, those of its epochs, or of choosing where
            the method trains nothing, and of measuring.
        method: what chose the architecture.
        confusion: of "base" and "compact": how often each class (row) of the test data was taken for each (column),
            int64 (classes, classes); none where the metric is another one than accuracy, or there are very many.
        blocks: of a supernet: a line per mixed edge, what is left of it.
        outcomes: what the compact network makes of each test example; None where the metric says nothing of single
            ones.
        worth: what the MACs that were removed are worth in time, as plain values; None where hardly any were, or the
            method removes no channels.
        against: what other methods made of the same base, by their names, where :func:`dnal.learn` was asked for it.
    """

    network: nn.Module
    change: Change
    space: Space
    history: list[dict[str, Any]]
    figures: BaseAndCompact
    constraints: list[dict[str, Any]]
    settings: dict[str, Any]
    seconds: dict[str, float]
    method: str = "dnal"
    confusion: dict[str, Tensor] = field(default_factory=dict)
    blocks: list[str] = field(default_factory=list)
    outcomes: Outcomes | None = None
    worth: dict[str, Any] | None = None
    against: dict[str, Learned] = field(default_factory=dict)

    def ahead_of(self, other: Learned) -> Interval | None:
        """This network's metric minus that of another one, on the same test examples, with its interval of 95 %.

        The interval is about the test examples: in how far others of their kind would say the same of these two
        networks. It says nothing of another seed, with which both would be other networks.

        Returns:
            None where no interval can be computed: the metric says nothing of single examples (those that do are top-1
            accuracy, R² and PSNR), or the two were measured on other examples, or in another order.
        """
        return difference(self.outcomes, other.outcomes)

    @property
    def architecture(self) -> Architecture:
        """Which channels stay.

        Raises:
            UserError: the method has not removed channels.
        """
        if self.change.architecture is None:
            raise UserError("this job removed no channels; its change says what it did.")
        return self.change.architecture
