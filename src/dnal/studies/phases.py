"""Single phases, for jobs that have others than those of :func:`dnal.learn`. All use cross entropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from dnal.gates.gated import Gated
from dnal.methods import paper
from dnal.methods.dnal.method import learn_gates
from dnal.methods.dnal.search import START, BudgetSearch
from dnal.pipeline.plan import ARCHITECTURE_RATE, SEARCH
from dnal.selection.widths import WidthRule
from dnal.settings import DEFAULT_LR
from dnal.space.space import Space
from dnal.techniques.distillation import Distillation
from dnal.train.loader import Loader
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def train(
    fabric: Fabric,
    network: nn.Module,
    loader: Loader,
    epochs: int,
    lr: float,
    *,
    warmup: float = 0.0,
    teacher: nn.Module | None = None,
) -> None:
    """Trains the weights in place; a teacher's logits are imitated too."""
    phase = Phase("weights", epochs, lr, warmup, taught(teacher))
    run_phase(phase, network, Context(fabric, loader, F.cross_entropy, teacher))


def search(
    fabric: Fabric,
    network: nn.Module,
    space: Space,
    limits: Mapping[str, float],
    loader: Loader,
    epochs: int,
    *,
    widths: WidthRule | None = None,
    teacher: nn.Module | None = None,
) -> Tensor:
    """The architecture phase of the method `dnal`, in which the weights train too: its scores, (num_gates,)."""
    gated = Gated(network, space, start=START).to(fabric.device)
    phase = Phase(SEARCH, epochs, ARCHITECTURE_RATE * DEFAULT_LR, techniques=taught(teacher))
    state = BudgetSearch(gated, space, limits, epochs * len(loader), widths=widths)
    return learn_gates(state, phase, Context(fabric, loader, F.cross_entropy, teacher))


def search_by_paper(
    fabric: Fabric,
    network: nn.Module,
    space: Space,
    loader: Loader,
    epochs: int,
    weight: float,
    *,
    teacher: nn.Module | None = None,
) -> Tensor:
    """That of the method `paper`, with the penalty's ``weight``, in which the weights are frozen: s, (num_gates,)."""
    gated = Gated(network, space).to(fabric.device)
    phase = Phase(SEARCH, epochs, paper.RATE, techniques=taught(teacher))
    return paper.search(gated, space, phase, Context(fabric, loader, F.cross_entropy, teacher), weight)


def taught(teacher: nn.Module | None) -> tuple[Technique, ...]:
    return () if teacher is None else (Distillation(),)
