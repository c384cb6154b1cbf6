"""What a network costs: the costs that a budget may bound, each a record in one registry.

A cost is needed twice: as a function of gate values, which guides a search, and counted (or measured) on a network that
is there. Both are named by where they stand, so that reading a budget does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnal.base.place import found_at

if TYPE_CHECKING:
    from torch import nn

    from dnal.space.cost import CostFunction
    from dnal.space.space import Space
    from dnal.space.surgery.inputs import Inputs

COUNT = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Cost:
    """What a network costs, which a budget may bound.

    Attributes:
        name: in a budget. words: for people.
        units: each in the cost's own unit (a count, bytes or milliseconds), which a bare number is in.
        figure: the name of a network's figure in a result.
        of_gates: "module:function" of (network, space, example inputs, batch) that makes the function of gate values;
            "" where the Space states the cost, or a model of it is profiled.
        counted: "module:function" of (network, example inputs of the deployment's batch) that counts it on a network;
            "" where it is measured.
        tolerance: by which share of its bound a measurement may miss it.
        always: whether every job reports it; the others are reported where they are bounded.
        per_batch: whether it depends on the batch of the deployment.
        bounds: whether a budget may bound it; the others tell what a change is worth that is none of channels.
    """

    name: str
    words: str
    units: Mapping[str, float]
    figure: str
    of_gates: str = ""
    counted: str = ""
    tolerance: float = 0.0
    always: bool = True
    per_batch: bool = False
    bounds: bool = True

    @property
    def measured(self) -> bool:
        """Whether it is measured by a clock, not counted."""
        return not self.counted

    def described(self, examples: str, backend: str) -> str:
        """In words, with where it is stated: "latency (one image, torch-cpu)"."""
        where = [examples] * self.per_batch + [backend] * self.measured
        return f"{self.words} ({', '.join(where)})" if where else self.words

    def function_of_gates(self, network: nn.Module, space: Space, example_inputs: Inputs, batch: int) -> CostFunction:
        """The cost as a function of gate values (num_gates,); arguments as of :meth:`on`."""
        function: CostFunction = found_at(self.of_gates, "cost", self.name)(network, space, example_inputs, batch)
        return function

    def on(self, network: nn.Module, example_inputs: Inputs) -> float:
        """The cost counted on a network; ``example_inputs``: of the batch for which costs are stated."""
        value: float = found_at(self.counted, "cost", self.name)(network, example_inputs)
        return value


COSTS: dict[str, Cost] = {
    cost.name: cost
    for cost in (
        Cost("macs", "MACs", COUNT, "macs", counted="dnal.costs.counted:macs_of_one"),
        Cost("params", "parameters", COUNT, "params", counted="dnal.costs.counted:params"),
        Cost(
            "memory", "memory", BYTES, "memory", of_gates="dnal.costs.memory:memory_cost",
            counted="dnal.costs.memory:peak_memory", always=False, per_batch=True,
        ),
        Cost("latency", "latency", MILLISECONDS, "latency_ms", tolerance=0.05, per_batch=True),
        Cost(
            "bops", "BOPs", COUNT, "bops", of_gates="dnal.costs.bops:bops_cost", counted="dnal.costs.bops:bops",
            always=False,
        ),
        Cost(
            "nonzero_macs", "MACs without zeros", COUNT, "nonzero_macs", counted="dnal.costs.counted:nonzero_macs",
            always=False, bounds=False,
        ),
        Cost(
            "compressed", "compressed size", BYTES, "compressed", counted="dnal.costs.counted:compressed",
            always=False, bounds=False,
        ),
    )
}  # fmt: skip
"""By name, in the order of tables."""
BOUNDED = tuple(name for name, cost in COSTS.items() if cost.bounds)
"""Those that a budget may bound."""
