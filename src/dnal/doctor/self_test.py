"""A whole job in seconds, on real data and on the device that dnal would take: is the result what it should be?"""

from __future__ import annotations

import warnings
from typing import Any

import torch

from dnal import data, models
from dnal.architecture.compact import compact
from dnal.gates.fixed import gated
from dnal.pipeline.learn import learn
from dnal.pipeline.result import Learned
from dnal.space.space import macs

BUDGET = 0.3
IMAGES = 300
TOLERANCE = 1e-4
"""Of the largest output."""


def self_test() -> list[dict[str, Any]]:
    """Learns on some digits for three epochs. Per check: what, whether it holds, and what was found."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _checked()
    except Exception as error:  # whatever is wrong with this installation comes out here
        return [_check("a small job runs", False, f"{type(error).__name__}: {' '.join(str(error).split())}")]


def _checked() -> list[dict[str, Any]]:
    digits = data.load("digits", limit_train=IMAGES)
    train, val, test = data.loaders(digits, 64)
    network = models.create("vgg_small", classes=digits.classes, input_shape=digits.input_shape)
    learned = learn(network, train, val, test, budget=f"macs<={BUDGET:.0%}", epochs=(1, 1, 1))
    images = next(iter(test))[0]
    share = _share(learned, images)
    difference = _difference(network, learned, images)
    epochs = len(learned.history)
    return [
        _check("a small job runs", True, f"{epochs} epochs on {learned.settings['device']}, {IMAGES} digits"),
        _check("the budget is met", share <= BUDGET, f"{share:.2%} of the MACs, {BUDGET:.0%} asked"),
        _check("compact equals masked", difference <= TOLERANCE, f"{difference:.1e} of the largest output"),
    ]


def _share(learned: Learned, images: torch.Tensor) -> float:
    """The compact network's MACs, counted on it, as a share of the base's."""
    return float(macs(learned.network.cpu(), images[:1]) / learned.space.full_cost["macs"])


def _difference(network: torch.nn.Module, learned: Learned, images: torch.Tensor) -> float:
    """Between the base with gates at 0 and 1 and the base with the closed channels removed."""
    network.cpu().eval()
    with torch.no_grad():
        masked = gated(network, learned.architecture)(images)
        removed = compact(network, learned.architecture)(images)
    return float((masked - removed).abs().max() / masked.abs().max())


def _check(what: str, holds: bool, found: str) -> dict[str, Any]:
    return {"what": what, "holds": holds, "found": found}
