"""Where the compact network will run: the batch and the backend at which memory and latency are stated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dnal.base.errors import UserError
from dnal.costs.budget import Budget
from dnal.costs.cost import COSTS
from dnal.selection.select import least_costs
from dnal.selection.widths import WidthRule
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs, at_batch
from dnal.space.surgery.tensors import held_tensors

if TYPE_CHECKING:
    from dnal.latency import LatencyModel

Progress = Callable[[str, int, int], None]
SATISFYING = 0.85
"""Of the speed that the MACs promise: so much, and a bound on them is one on the time."""


@dataclass(frozen=True)
class Deployed:
    """The batch and the backend ("torch-cpu", "torch-cuda", "onnxruntime-cpu")."""

    batch: int
    backend: str

    @staticmethod
    def of(batch: int, backend: str) -> Deployed:
        """With "auto" decided: the GPU where there is one.

        Raises:
            UserError: an unknown backend, or one that cannot run here.
        """
        from dnal.latency.backends import backend_of

        if backend == "auto":
            backend = "torch-cuda" if torch.cuda.is_available() else "torch-cpu"
        backend_of(backend)
        return Deployed(batch, backend)

    def multiple(self, network: nn.Module, space: Space, example: Inputs, possible: Callable[[int], bool]) -> int:
        """The multiple of channels that this backend computes fastest, of those that are possible (1 always is)."""
        from dnal.latency import fastest_multiple
        from dnal.latency.multiple import CANDIDATES, SHARE_OF_MACS

        # Candidates are compared at this share; where groups stay whole that are no wider, some never get there.
        limit = SHARE_OF_MACS * space.full_cost["macs"]
        candidates = [
            number
            for number in CANDIDATES
            if number == 1 or (possible(number) and least_costs(space, WidthRule(divisor=number))["macs"] <= limit)
        ]
        network, example = self._placed(network, example)
        return fastest_multiple(network, space, example, backend=self.backend, batch=self.batch, candidates=candidates)

    def with_costs(self, space: Space, network: nn.Module, example: Inputs, names: Collection[str]) -> Space:
        """The Space with these costs, as far as they follow from the network alone."""
        for name in names:
            if name not in space.costs and COSTS[name].of_gates:
                space = space.with_cost(name, COSTS[name].function_of_gates(network, space, example, self.batch))
        return space

    def latency(
        self,
        space: Space,
        network: nn.Module,
        example: Inputs,
        multiple: int,
        known: LatencyModel | str | Path | None,
        progress: Progress,
    ) -> LatencyModel:
        """The latency model of the network: profiled, unless one is known already, or its file.

        Raises:
            UserError: a known one that was made at another batch or on another backend.
        """
        from dnal.latency import profile

        if known is None:
            network, example = self._placed(network, example)
            return profile(
                network, space, example, backend=self.backend, batch=self.batch, multiple=multiple, progress=progress
            )
        model = known_latency(known)
        if (model.backend, model.batch) != (self.backend, self.batch):
            raise UserError(
                f"the latency model was measured on {model.backend} at a batch of {model.batch}, but the budget is "
                f"stated on {self.backend} at a batch of {self.batch}; profile the network again."
            )
        return model

    def focused(
        self,
        model: LatencyModel,
        space: Space,
        network: nn.Module,
        example: Inputs,
        bounds: Collection[float],
        progress: Progress,
    ) -> LatencyModel:
        """The latency model, calibrated with networks at these bounds, in milliseconds, too."""
        from dnal.latency import focused

        network, example = self._placed(network, example)
        return focused(model, network, space, example, sorted(bounds), backend=self.backend, progress=progress)

    def figures(self, networks: Sequence[nn.Module], example: Inputs, costs: Collection[str]) -> list[dict[str, float]]:
        """The costs of each network by their figures' names: those that are always stated, and those of ``costs``.
        Counted on the network itself, or measured, the networks in turn."""
        from dnal.latency import measured_ms

        placed, inputs = self._all_placed(networks, example)
        asked = [cost for cost in COSTS.values() if cost.always or cost.name in costs]
        milliseconds = measured_ms(placed, inputs, self.backend)
        return [
            {cost.figure: time if cost.measured else cost.on(network, inputs) for cost in asked}
            for network, time in zip(placed, milliseconds, strict=True)
        ]

    def milliseconds(self, networks: Sequence[nn.Module], example: Inputs) -> list[float]:
        """What each network takes, the networks in turn."""
        from dnal.latency import measured_ms

        return measured_ms(*self._all_placed(networks, example), self.backend)

    def layers(self, networks: Sequence[nn.Module], example: Inputs) -> dict[str, tuple[float, float]]:
        """What each module of two networks takes that contains no others, in milliseconds by its path, 0 where one of
        them lacks it; empty where the backend does not tell."""
        from dnal.latency.profiling import layers_ms

        before, after = layers_ms(*self._all_placed(networks, example), self.backend)
        return {path: (before.get(path, 0.0), after.get(path, 0.0)) for path in {**before, **after}}

    def _all_placed(self, networks: Sequence[nn.Module], example: Inputs) -> tuple[list[nn.Module], Inputs]:
        """The networks where the backend runs, and inputs of the deployment's batch."""
        placed = [self._placed(network, example)[0] for network in networks]
        return placed, at_batch(self._placed(networks[0], example)[1], self.batch)

    def _placed(self, network: nn.Module, example: Inputs) -> tuple[nn.Module, Inputs]:
        """Network and first example where the backend runs: it may be the CPU of a machine that trains on a GPU."""
        first = at_batch(example, 1)
        if self.backend != "torch-cuda" and any(tensor.is_cuda for tensor in held_tensors(first)):
            return copy.deepcopy(network).cpu(), tree_map_only(Tensor, lambda tensor: tensor.cpu(), first)
        return network, first


def known_latency(known: LatencyModel | str | Path) -> LatencyModel:
    """A latency model, or that of a file.

    Raises:
        UserError: a file that holds none.
    """
    from dnal.latency import LatencyModel

    return known if isinstance(known, LatencyModel) else LatencyModel.load(known)


def kept_bounds(
    budget: Budget, base: Mapping[str, float], compact: Mapping[str, float], predicted: Mapping[str, float]
) -> list[dict[str, Any]]:
    """A row per bound: cost, bound, asked and got (in the cost's unit), holds; of a measured cost also what was
    predicted. Percent are of the base's own figure, measured beside the compact network's.

    Args:
        base, compact: figures. predicted: the costs of the architecture.
    """
    rows: list[dict[str, Any]] = []
    for bound in budget.bounds:
        cost = COSTS[bound.cost]
        asked, got = bound.limit({cost.name: base[cost.figure]}), compact[cost.figure]
        holds = got <= asked * (1 + cost.tolerance)
        row = {"cost": cost.name, "bound": str(bound), "asked": asked, "got": got, "holds": holds}
        rows.append(row | ({"predicted": predicted[cost.name]} if cost.measured else {}))
    return rows
