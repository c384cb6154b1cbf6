"""dnal: learn a smaller architecture of a network while it trains.

The public names are loaded on first use, so that ``import dnal`` and the command line's help do not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dnal.base import telemetry
from dnal.base.version import VERSION

if TYPE_CHECKING:
    from dnal import data as data
    from dnal import export as export
    from dnal import loggers as loggers
    from dnal import models as models
    from dnal import supernet as supernet
    from dnal.architecture.architecture import Architecture as Architecture
    from dnal.architecture.compact import compact as compact
    from dnal.base.errors import UserError as UserError
    from dnal.costs.budget import Budget as Budget
    from dnal.gates.gated import Gated as Gated
    from dnal.gates.gated import gated as gated
    from dnal.methods.dnal.search import BudgetSearch as BudgetSearch
    from dnal.pipeline.learn import learn as learn
    from dnal.pipeline.learn import trade_off as trade_off
    from dnal.pipeline.result import Learned as Learned
    from dnal.run import load as load
    from dnal.selection.select import select as select
    from dnal.space.space import Space as Space
    from dnal.space.space import macs as macs

__version__ = VERSION

telemetry.off()  # here, since whatever imports the packages that have some has come by here first

_HOMES = {
    "Architecture": "dnal.architecture.architecture",
    "Budget": "dnal.costs.budget",
    "BudgetSearch": "dnal.methods.dnal.search",
    "Gated": "dnal.gates.gated",
    "Learned": "dnal.pipeline.result",
    "Space": "dnal.space.space",
    "UserError": "dnal.base.errors",
    "compact": "dnal.architecture.compact",
    "gated": "dnal.gates.gated",
    "learn": "dnal.pipeline.learn",
    "load": "dnal.run",
    "macs": "dnal.space.space",
    "select": "dnal.selection.select",
    "trade_off": "dnal.pipeline.learn",
}
_ROOMS = ("data", "export", "loggers", "models", "supernet")

__all__ = ["__version__", *_HOMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return importlib.import_module(f"dnal.{name}")
    raise AttributeError(f"module 'dnal' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
