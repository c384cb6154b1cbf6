"""When the training of a network is stopped early: a file each and a line below."""

from dnal.base.registry import Registry
from dnal.search.pruners.pruner import Pruner

PRUNERS = Registry(
    "pruner",
    Pruner,
    {
        "none": "dnal.search.pruners.pruner:NoPruner",
        "median": "dnal.search.pruners.by_optuna:MedianPruner",
        "successive-halving": "dnal.search.pruners.by_optuna:SuccessiveHalving",
    },
)
"""All pruners by name."""

__all__ = ["PRUNERS", "Pruner"]
