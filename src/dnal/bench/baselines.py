"""Baselines from outside: FastNAS (:mod:`dnal.bench.fastnas`), and Torch-Pruning, used as its README and its scripts
for CIFAR use it, on the same MACs.

Torch-Pruning's own control of the size is a ratio of channels, in steps if need be, whose last may end early (README,
"Interactive Pruning"). The ratio is found by bisection; with one for every layer all widths change at once, so that the
last channels go layer by layer until the budget is met.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from typing import Any

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.bench import fastnas
from dnal.bench.jobs import Impossible
from dnal.bench.suite import BASELINES, FASTNAS
from dnal.methods.task import Task
from dnal.space.space import macs
from dnal.space.surgery.inputs import Inputs
from dnal.train.loop import Stopped
from dnal.train.optimizers import sgd
from dnal.train.phase import run_phase
from dnal.train.step import Step
from dnal.train.technique import Technique

REG = {"tp-bn-scale": 1e-5, "tp-group-norm": 5e-4}
"""Weights of the sparsity penalties, from the project's scripts for CIFAR (reproduce/scripts/prune/cifar)."""
GLOBAL = "-global"
"""Ends the name of a baseline that ranks the channels of all layers together (README, "Global Pruning")."""
HALVINGS = 12

History = list[list[Any]]
"""What Torch-Pruning says it has done: (layer, whether its outputs, indices) per step."""


def check_installed(name: str) -> None:
    """Refuses to begin without the package of a baseline.

    Raises:
        UserError: saying how to install it.
    """
    if name == FASTNAS:
        fastnas.check_fastnas()
    else:
        _torch_pruning()


def version(name: str) -> str:
    """The package of a baseline, and which one it is."""
    package = "nvidia-modelopt" if name == FASTNAS else "torch-pruning"
    return f"{package} {metadata.version(package)}"


def trains(name: str) -> bool:
    """Whether this baseline uses the epochs of choosing, for sparsity learning."""
    return name.removesuffix(GLOBAL) in REG


def choose(name: str, task: Task, example: Inputs) -> tuple[nn.Module, History | fastnas.Choice]:
    """What a baseline leaves of the task's network, and how to come there from any network of the same kind.

    Args:
        name: one of BASELINES. example: inputs to trace the network with.

    Raises:
        Impossible: the baseline fails on this network.
    """
    assert name in BASELINES
    if name == FASTNAS:
        with _told("FastNAS"):
            return fastnas.choose(task, example)
    classes = _classes(task.network, example)
    if trains(name):
        _sparsity_learning(name, task, example, classes)
    return tuned(
        lambda network, ratios: _pruner(name, network, example, classes, ratios), task.network, example,
        task.limits["macs"],
    )  # fmt: skip


def tuned(
    pruner_of: Callable[[nn.Module, list[float]], Any], network: nn.Module, example: Inputs, limit: float
) -> tuple[nn.Module, History]:
    """The largest network within ``limit`` MACs that ratios of channels give, by bisection; ``network`` stays as it is.

    Args:
        pruner_of: a pruner of Torch-Pruning for a network, and the ratios of its steps.

    Raises:
        Impossible: no ratio that was tried gives one, or what it leaves does not run.
    """
    low, high = 0.0, 1.0  # low keeps too much
    for _ in range(HALVINGS):
        ratio = (low + high) / 2
        small = copy.deepcopy(network)
        with _told("Torch-Pruning"):
            pruner_of(small, [ratio]).step()
        low, high = (ratio, high) if _counted(small, example, ratio) > limit else (low, ratio)
    made = [_pruned(pruner_of, network, example, limit, ratios) for ratios in ([high], [low, high])]
    fit = [own for own in made if own[0] <= limit]
    if not fit:
        raise Impossible(f"no pruning ratio leaves {limit:g} MACs or less.")
    return max(fit, key=lambda own: own[0])[1:]


def _pruned(
    pruner_of: Callable[[nn.Module, list[float]], Any],
    network: nn.Module,
    example: Inputs,
    limit: float,
    ratios: list[float],
) -> tuple[int, nn.Module, History]:
    """MACs, network and history after these steps, the last of which ends when ``limit`` is kept."""
    small = copy.deepcopy(network)
    with _told("Torch-Pruning"):
        pruner = pruner_of(small, ratios)
        for _ in ratios[1:]:
            pruner.step()
        for group in pruner.step(interactive=True):
            group.prune()
            if macs(small, example) <= limit:
                break
        return macs(small, example), small, [list(step) for step in pruner.pruning_history()]


def _counted(network: nn.Module, example: Inputs, ratio: float) -> int:
    """The MACs of what a ratio leaves."""
    with _told(f"what Torch-Pruning leaves at a ratio of {ratio:g}"):
        return macs(network, example)


@contextmanager
def _told(who: str) -> Iterator[None]:
    """What goes wrong inside of a baseline loses its own row, whatever it is, and not the suite."""
    try:
        yield
    except (UserError, Stopped):
        raise
    except Exception as error:
        raise Impossible(f"{who} fails on this network: {type(error).__name__}: {error}.") from error


def again(network: nn.Module, history: History | fastnas.Choice, example: Inputs) -> nn.Module:
    """A network of the same kind with the shapes that a baseline chose; in place."""
    if isinstance(history, dict):
        return fastnas.again(network, history)
    graph = _torch_pruning().DependencyGraph().build_dependency(network, example_inputs=example)
    graph.load_pruning_history([tuple(step) for step in history])
    return network


def _torch_pruning() -> Any:
    try:
        return import_module("torch_pruning")
    except ImportError:
        raise UserError("the baselines from outside need Torch-Pruning: pip install 'dnal[baselines]'.") from None


def _pruner(name: str, network: nn.Module, example: Inputs, classes: int, ratios: list[float]) -> Any:
    """The pruner that takes these ratios of the channels, one a step."""
    tp = _torch_pruning()
    kind = name.removesuffix(GLOBAL)
    common: dict[str, Any] = {
        "ignored_layers": [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == classes],
        "iterative_steps": len(ratios), "iterative_pruning_ratio_scheduler": lambda last, steps: [0.0, *ratios],
        "global_pruning": name.endswith(GLOBAL),
    }  # fmt: skip
    magnitude = tp.importance.GroupMagnitudeImportance(p=2)
    if kind == "tp-magnitude":  # README, "High-level Pruners"
        return tp.pruner.BasePruner(network, example, importance=magnitude, **common)
    common |= {"reg": REG[kind]}
    if kind == "tp-bn-scale":
        return tp.pruner.BNScalePruner(network, example, importance=tp.importance.BNScaleImportance(), **common)
    return tp.pruner.GroupNormPruner(network, example, importance=magnitude, **common)


def _sparsity_learning(name: str, task: Task, example: Inputs, classes: int) -> None:
    """The training of README, "Sparse Training", over the epochs of choosing."""
    network, phase = task.network, task.phase
    own = sgd(network, phase.lr, weight_decay=0.0)  # as reproduce/main.py: the penalty takes its place
    hooks = [_Regularized(_pruner(name, network, example, classes, [0.5]), phase.epochs)]
    run_phase(phase, network, task.context, hooks=hooks, optimizer=own)


class _Regularized(Technique):
    """Torch-Pruning's sparsity learning: its regulariser adds to the gradients, and is updated every epoch."""

    def __init__(self, pruner: Any, epochs: int) -> None:
        self._pruner, self._epochs, self._begun = pruner, epochs, -1

    def batch(self, batch: Any, step: Step) -> Any:
        epoch = int((step.progress - 1e-9) * self._epochs)
        if epoch != self._begun:
            self._pruner.update_regularizer()
            self._begun = epoch
        return batch

    def after_backward(self, step: Step) -> None:
        self._pruner.regularize(step.network)


def _classes(network: nn.Module, example: Inputs) -> int:
    with torch.no_grad():
        outputs: Tensor = copy.deepcopy(network).eval()(example)
    return outputs.shape[1]
