"""What a network of a space costs, before it is trained, held against the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from dnal import models
from dnal.base.errors import UserError
from dnal.costs.budget import Bound, Budget, amount
from dnal.costs.cost import COSTS
from dnal.costs.deployment import Deployed, kept_bounds
from dnal.data.kind import Kind, Sizes
from dnal.search.spaces.space import NetworkSpace

MOST_PARAMS = 2**27
"""Of any network that a search builds, whatever the budget: half a gigabyte."""
EXAMPLES = {
    "macs": "macs<=2M",
    "params": "params<=100k",
    "memory": "memory<=1MB",
    "latency": "latency<=2ms",
    "bops": "bops<=500k",
}
Known = Mapping[str, float]
"""Costs by name, in their own units."""


class Bounds:
    """The budget of a search, and what networks cost.

    Args:
        budget: in the user's words. kind, sizes, classes: of the data. deployed: where latency and memory are stated.
        measured: costs that were measured before, by the network's name. keep: gets those that are measured now, so
            that a search that goes on decides as before.

    Raises:
        UserError: a budget in percent, of which there is no network.
    """

    def __init__(
        self,
        budget: str,
        kind: Kind,
        sizes: Sizes,
        classes: int,
        deployed: Deployed,
        *,
        measured: Mapping[str, Known] | None = None,
        keep: Callable[[str, Known], None] = lambda model, costs: None,
    ) -> None:
        self.budget = Budget.parse(budget)
        for bound in self.budget.bounds:
            if bound.percent:
                raise UserError(
                    f"the budget {bound} is a share of a network that is there, and a search has none; say how much, "
                    f"such as '{EXAMPLES[bound.cost]}'."
                )
        self._kind, self._sizes, self._classes, self._deployed = kind, sizes, classes, deployed
        counted = {"macs", "params", *self.budget.costs}  # a file may tell of fewer; then all are counted again
        self._known: dict[str, Known | None] = {
            model: costs for model, costs in (measured or {}).items() if counted <= costs.keys()
        }
        self._keep = keep

    @property
    def clocked(self) -> bool:
        """Whether something is measured by a clock."""
        return any(COSTS[name].measured for name in self.budget.costs)

    def check(self, space: NetworkSpace) -> None:
        """Refuses a budget that no network of a space can keep, as far as the space says what its smallest ones are.

        Raises:
            UserError: with what the smallest one costs.
        """
        models = [space.model(genome) for genome in space.smallest(self._sizes)]
        example = self._kind.example(self._sizes, self._deployed.batch)
        for bound in self.budget.bounds if models else ():
            cost = COSTS[bound.cost]
            if cost.measured:
                continue
            least, model = min((float(cost.on(self.network(model).eval(), example)), model) for model in models)
            if not self._kept(bound, least):
                raise UserError(
                    f"the budget {bound} is below the least that a network of this space has: "
                    f"{amount(cost.name, least, 12)} {cost.words} ('{model}'); allow more, or choose another --space."
                )

    def costs(self, model: str) -> Known | None:
        """What a network costs: MACs, parameters and whatever else is bounded; None where it breaks the budget by a
        cost that is known before the others."""
        if model not in self._known:
            self._known[model] = self._counted(model)
        return self._known[model]

    def within(self, model: str) -> bool:
        """Whether a network keeps the budget."""
        costs = self.costs(model)
        return costs is not None and all(self._kept(bound, costs[bound.cost]) for bound in self.budget.bounds)

    def network(self, model: str) -> nn.Module:
        """The network of a name, with new weights."""
        return models.create(model, classes=self._classes, input_shape=self._sizes, kind=self._kind.name)

    def _kept(self, bound: Bound, value: float) -> bool:
        return value <= bound.number * (1 + COSTS[bound.cost].tolerance)

    def _counted(self, model: str) -> Known | None:
        # Without memory first: a list of a few layers may ask for more weights than there is room.
        shape = models.outline(model, classes=self._classes, input_shape=self._sizes, kind=self._kind.name)
        params = float(sum(parameter.numel() for parameter in shape.parameters()))
        limits = [bound.number for bound in self.budget.bounds if bound.cost == "params"]
        if params > min([MOST_PARAMS, *limits]):
            return None
        network, example = self.network(model).eval(), self._kind.example(self._sizes, self._deployed.batch)
        names = [cost for cost in COSTS.values() if cost.name in ("macs", "params", *self.budget.costs)]
        found: dict[str, float] = {}
        for cost in names:
            if not cost.measured:
                found[cost.name] = float(cost.on(network, example))
        if self.clocked and all(self._kept(b, found[b.cost]) for b in self.budget.bounds if b.cost in found):
            (figures,) = self._deployed.figures([network], example, self.budget.costs)
            found |= {cost.name: figures[cost.figure] for cost in names if cost.measured}
            self._keep(model, found)
        elif self.clocked:
            return None
        return found

    def rows(self, figures: Mapping[str, Any], known: Known) -> list[dict[str, Any]]:
        """A row per bound for a result.

        Args:
            figures: of the network that was found. known: its costs before it was trained.
        """
        return kept_bounds(self.budget, figures, figures, known)

    @staticmethod
    def named(budget: str) -> tuple[str, ...]:
        """The costs that a budget bounds."""
        return Budget.parse(budget).costs
