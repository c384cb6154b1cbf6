"""FastNAS of NVIDIA's Model-Optimizer as a baseline, used as its README says, on the same MACs.

It measures on validation data what each narrower width of each layer costs alone, once, and takes for a threshold the
narrowest widths that cost no more. Its control of the size is a bound on the operations, which it counts by itself (two
a MAC); its search ends below the bound by whatever the next threshold would add.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from typing import Any

import torch
from torch import nn

from dnal.base.errors import UserError
from dnal.bench.jobs import Impossible
from dnal.methods.task import Task
from dnal.space.space import macs
from dnal.space.surgery.inputs import Inputs
from dnal.train.evaluate import accuracy

SHARES = tuple(0.05 * n for n in range(1, 21))
SPACE = {
    "nn.Conv2d": {"*": {"channels_ratio": SHARES, "channel_divisor": 1}},
    "nn.BatchNorm2d": {"*": {"features_ratio": SHARES, "feature_divisor": 1}},
}
"""Its own twenty widths of a layer. Its multiple of 32 is dropped: the layers of the suites are as narrow as 16."""

Choice = dict[str, Any]
"""The width of each layer, by FastNAS' own names."""


def check_fastnas() -> None:
    """Refuses to begin without the package.

    Raises:
        UserError: saying how to install it.
    """
    _package("modelopt.torch.prune")
    _package("torchprofile")


def choose(task: Task, example: Inputs) -> tuple[nn.Module, Choice]:
    """What FastNAS leaves of the task's network, and its widths.

    Raises:
        Impossible: it finds nothing within the budget.
    """
    before = macs(task.network, example)
    bound = f"{100 * task.limits['macs'] / before:.6f}%"
    with _quiet():
        small, found = _package("modelopt.torch.prune").prune(
            model=copy.deepcopy(task.network).to(memory_format=torch.contiguous_format),  # it knows no other
            mode=[("fastnas", SPACE)],
            constraints={"flops": bound},
            dummy_input=example,
            config={"data_loader": task.context.loader, "score_func": lambda network: accuracy(network, task.val)},
        )
    if macs(small, example) > task.limits["macs"]:
        raise Impossible(f"FastNAS finds no network of {task.limits['macs']:g} MACs or less.")
    return small, dict(found["best"]["config"])


def again(network: nn.Module, choice: Choice) -> nn.Module:
    """A network of the same kind with the widths that were chosen."""
    nas = _package("modelopt.torch.nas")
    with _quiet():
        converted = nas.convert(network.to(memory_format=torch.contiguous_format), mode=[("fastnas", SPACE)])
        nas.select(converted, choice)
        exported: nn.Module = nas.export(converted)
    return exported


@contextmanager
def _quiet() -> Iterator[None]:
    """It prints its progress and the layers."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _package(name: str) -> Any:
    try:
        with _quiet():
            return import_module(name)
    except ImportError as error:
        raise UserError(
            f"FastNAS needs NVIDIA's Model-Optimizer: pip install 'dnal[baselines]' (there is no {error.name})."
        ) from None
