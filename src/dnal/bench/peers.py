"""Rivals from outside: FastNAS (:mod:`dnal.bench.fastnas`), and Torch-Pruning, used as its README and its scripts for
CIFAR use it, on the same MACs.

Torch-Pruning's own control of the size is a ratio of channels. That is found by bisection, so that the network that
comes out uses as much of the budget as any ratio can.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from dnal.bench import fastnas
from dnal.bench.suite import FASTNAS, PEERS
from dnal.errors import UserError
from dnal.methods.task import Task
from dnal.space.space import macs
from dnal.train.loop import run_epochs
from dnal.train.schedule import cosine
from dnal.train.weights import set_lr, sgd, taught_loss

REG = {"tp-bn-scale": 1e-5, "tp-group-norm": 5e-4}
"""Weights of the sparsity penalties, from the project's scripts for CIFAR (reproduce/scripts/prune/cifar)."""
HALVINGS = 12

History = list[list[Any]]
"""What Torch-Pruning says it has done: (layer, whether its outputs, indices) per step."""


def check_peer(name: str) -> None:
    """Refuses to begin without the package of a rival.

    Raises:
        UserError: saying how to install it.
    """
    if name == FASTNAS:
        fastnas.check_fastnas()
    else:
        _torch_pruning()


def trains(name: str) -> bool:
    """Whether this rival uses the epochs of choosing, for sparsity learning."""
    return name not in ("tp-magnitude", FASTNAS)


def choose(name: str, task: Task, example: Tensor) -> tuple[nn.Module, History | fastnas.Choice]:
    """What a rival leaves of the task's network, and how to come there from any network of the same kind.

    Args:
        name: one of PEERS. example: inputs to trace the network with.
    """
    assert name in PEERS
    if name == FASTNAS:
        return fastnas.choose(task, example)
    classes = _classes(task.network, example)
    if trains(name):
        _sparsity_learning(name, task, example, classes)
    return tuned(
        lambda network, ratio: _pruner(name, network, example, classes, ratio), task.network, example,
        task.limits["macs"],
    )  # fmt: skip


def tuned(
    pruner_of: Callable[[nn.Module, float], Any], network: nn.Module, example: Tensor, limit: float
) -> tuple[nn.Module, History]:
    """The largest network within ``limit`` MACs that any ratio gives, by bisection; ``network`` stays as it is.

    Raises:
        UserError: no ratio that was tried gives one, or what it leaves does not run.
    """
    low, high = 0.0, 1.0  # low keeps too much
    best: tuple[float, nn.Module, History] | None = None
    for _ in range(HALVINGS):
        ratio = (low + high) / 2
        small = copy.deepcopy(network)
        pruner = pruner_of(small, ratio)
        pruner.step()
        try:
            got = macs(small, example)
        except RuntimeError as error:  # shapes that do not fit each other
            raise UserError(f"what Torch-Pruning leaves at a ratio of {ratio:g} does not run: {error}.") from None
        if got > limit:
            low = ratio
            continue
        high = ratio
        if best is None or got > best[0]:
            best = got, small, [list(step) for step in pruner.pruning_history()]
    if best is None:
        raise UserError(f"no pruning ratio leaves {limit:g} MACs or less.")
    return best[1], best[2]


def again(network: nn.Module, history: History | fastnas.Choice, example: Tensor) -> nn.Module:
    """A network of the same kind with the shapes that a rival chose; in place."""
    if isinstance(history, dict):
        return fastnas.again(network, history)
    graph = _torch_pruning().DependencyGraph().build_dependency(network, example_inputs=example)
    graph.load_pruning_history([tuple(step) for step in history])
    return network


def _torch_pruning() -> Any:
    try:
        return import_module("torch_pruning")
    except ImportError:
        raise UserError("the rivals from outside need Torch-Pruning: pip install 'dnal[peers]'.") from None


def _pruner(name: str, network: nn.Module, example: Tensor, classes: int, ratio: float) -> Any:
    tp = _torch_pruning()
    kept = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    common: dict[str, Any] = {"pruning_ratio": ratio, "ignored_layers": kept}
    if name == "tp-magnitude":  # README, "High-level Pruners"
        return tp.pruner.BasePruner(network, example, importance=tp.importance.GroupMagnitudeImportance(p=2), **common)
    common |= {"reg": REG[name], "global_pruning": True}  # reproduce/scripts/prune/cifar
    if name == "tp-bn-scale":
        return tp.pruner.BNScalePruner(network, example, importance=tp.importance.BNScaleImportance(), **common)
    importance = tp.importance.GroupMagnitudeImportance(p=2, normalizer="max")
    return tp.pruner.GroupNormPruner(network, example, importance=importance, **common)


def _sparsity_learning(name: str, task: Task, example: Tensor, classes: int) -> None:
    """The training of README, "Sparse Training", over the epochs of choosing."""
    network = task.network
    own = sgd(network, task.lr, weight_decay=0.0)  # as reproduce/main.py: the penalty takes its place
    module, optimizer = task.fabric.setup(network, own)
    objective = taught_loss(task.loss, task.teacher)
    pruner = _pruner(name, network, example, classes, 0.5)
    module.train()
    begun = -1

    def step(inputs: Any, targets: Any, progress: float) -> Tensor:
        nonlocal begun
        epoch = int((progress - 1e-9) * task.epochs)
        if epoch != begun:
            pruner.update_regularizer()
            begun = epoch
        set_lr(optimizer, cosine(progress, task.lr))
        optimizer.zero_grad(set_to_none=True)
        value = objective(module(inputs), targets, inputs)
        task.fabric.backward(value)
        pruner.regularize(network)
        optimizer.step()
        return value.detach()

    run_epochs(
        task.fabric, "architecture", task.train, task.epochs, step,
        parts={"network": network, "optimizer": own}, describe=lambda: {"lr": task.lr}, listener=task.listener,
        history=task.history, keeper=task.keeper,
    )  # fmt: skip


def _classes(network: nn.Module, example: Tensor) -> int:
    with torch.no_grad():
        outputs: Tensor = copy.deepcopy(network).eval()(example)
    return outputs.shape[1]
