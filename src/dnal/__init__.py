"""dnal: learn a smaller architecture of a network while it trains.

The public names are loaded on first use, so that ``import dnal`` and the command line's help do not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dnal.base import telemetry
from dnal.base.version import VERSION

if TYPE_CHECKING:
    from dnal import analyses as analyses
    from dnal import changes as changes
    from dnal import data as data
    from dnal import export as export
    from dnal import hyper as hyper
    from dnal import latency as latency
    from dnal import loggers as loggers
    from dnal import methods as methods
    from dnal import models as models
    from dnal import repair as repair
    from dnal import report as report
    from dnal import run as run
    from dnal import search as search
    from dnal import settings as settings
    from dnal import studies as studies
    from dnal import supernet as supernet
    from dnal import techniques as techniques
    from dnal.architecture.architecture import Architecture as Architecture
    from dnal.architecture.compact import compact as compact
    from dnal.base.errors import UserError as UserError
    from dnal.base.options import option as option
    from dnal.costs.budget import Budget as Budget
    from dnal.gates.fixed import gated as gated
    from dnal.gates.gated import Gated as Gated
    from dnal.latency.model import LatencyModel as LatencyModel
    from dnal.methods.dnal.search import BudgetSearch as BudgetSearch
    from dnal.methods.method import Method as Method
    from dnal.pipeline.grow import grow as grow
    from dnal.pipeline.learn import learn as learn
    from dnal.pipeline.learn import trade_off as trade_off
    from dnal.pipeline.result import Learned as Learned
    from dnal.pipeline.sparsify import sparsify as sparsify
    from dnal.run.loading import load as load
    from dnal.selection.select import select as select
    from dnal.space.space import Space as Space
    from dnal.space.space import macs as macs
    from dnal.train.listener import Listener as Listener
    from dnal.train.loop import Diverged as Diverged
    from dnal.train.loop import Stopped as Stopped
    from dnal.train.resume.checkpoint import Checkpoints as Checkpoints
    from dnal.train.technique import Technique as Technique

__version__ = VERSION

telemetry.off()  # here, since whatever imports the packages that have some has come by here first

_HOMES = {
    "Architecture": "dnal.architecture.architecture",
    "Budget": "dnal.costs.budget",
    "BudgetSearch": "dnal.methods.dnal.search",
    "Checkpoints": "dnal.train.resume.checkpoint",
    "Diverged": "dnal.train.loop",
    "Gated": "dnal.gates.gated",
    "LatencyModel": "dnal.latency.model",
    "Learned": "dnal.pipeline.result",
    "Listener": "dnal.train.listener",
    "Method": "dnal.methods.method",
    "Space": "dnal.space.space",
    "Stopped": "dnal.train.loop",
    "Technique": "dnal.train.technique",
    "UserError": "dnal.base.errors",
    "compact": "dnal.architecture.compact",
    "gated": "dnal.gates.fixed",
    "grow": "dnal.pipeline.grow",
    "learn": "dnal.pipeline.learn",
    "load": "dnal.run.loading",
    "macs": "dnal.space.space",
    "option": "dnal.base.options",
    "select": "dnal.selection.select",
    "sparsify": "dnal.pipeline.sparsify",
    "trade_off": "dnal.pipeline.learn",
}
_ROOMS = (
    "analyses",
    "changes",
    "data",
    "export",
    "hyper",
    "latency",
    "loggers",
    "methods",
    "models",
    "repair",
    "report",
    "run",
    "search",
    "settings",
    "studies",
    "supernet",
    "techniques",
)

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
