"""Edge-popup: which weights of an untrained network make a good one, learnt by scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dnal.base.errors import UserError
from dnal.changes.masks import Masks, apply_masks
from dnal.methods.sparsity.masks import counted, kept, largest_of_each, maskable
from dnal.methods.sparsity.sparsifier import Sparsifier, masked
from dnal.methods.task import Task
from dnal.space.space import Space
from dnal.train.phase import run_phase
from dnal.train.technique import Scene, Technique


@dataclass(frozen=True)
class EdgePopup(Sparsifier):
    """Learns a score for each weight of the network before training, and keeps the highest of each layer.

    In the phase "architecture" no weight moves: the forward pass uses the share `keep` of each layer with the highest
    absolute scores, and the gradient reaches the scores as if all were used (straight through). The weights are those
    before the base's first step, or the base's own where it comes trained. The phase "retrain" trains what stays from
    there; with no epoch in it (--epochs 40,40,0) what is left is a sub-network whose weights were never trained, as
    published. A `keep` of 30 to 50 % is usual. Costs a copy of the weights and a sorting of each layer a step. Source:
    Ramanujan et al., arXiv 1911.13299; here biases and norms are frozen too, and the initialisation is the network's
    own.
    """

    trains: ClassVar[bool] = True
    reparametrises: ClassVar[bool] = True
    epochs: ClassVar[tuple[int, int, int]] = (40, 40, 40)

    def check(self, network: nn.Module, space: Space) -> None:
        super().check(network, space)
        for name in maskable(network, space):
            path = name.rpartition(".")[0]
            if isinstance(network.get_submodule(path), nn.RNNBase | nn.RNNCellBase | nn.MultiheadAttention):
                raise UserError(
                    f"edge-popup cannot put scores on the weights of '{path}' "
                    f"({type(network.get_submodule(path)).__name__}), which reads them in a way of its own; take "
                    "another method, such as magnitude."
                )

    def rewind(self, base_is_trained: bool) -> float | None:
        return None if base_is_trained else 0.0

    def choose(self, task: Task) -> Masks:
        network = task.network
        if task.early is not None:
            network.load_state_dict(task.early)
        scoring = Scores(list(maskable(network, task.space)), self.keep, task.seed)
        run_phase(task.phase, network, task.context, hooks=[scoring], validate=task.validate)
        masks = scoring.masks()
        apply_masks(network, masks)
        return masked(task.space, masks, self.keep)


class Scores(Technique):
    """While it acts, layers use the weights with the highest scores, and nothing but the scores is trained.

    Args:
        names: of the weights. keep: the share of each that is used. seed: of the first scores.
    """

    reparametrises = True

    def __init__(self, names: list[str], keep: float, seed: int) -> None:
        self._names, self._keep, self._seed = names, keep, seed
        self._scores: dict[str, Tensor] = {}
        self._trained: list[nn.Parameter] = []

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        self._trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        for parameter in self._trained:
            parameter.requires_grad_(False)
        draw = torch.Generator().manual_seed(self._seed)
        for name in self._names:
            path, _, last = name.rpartition(".")
            layer = network.get_submodule(path)
            scored = Scored(getattr(layer, last), self._keep, draw)
            parametrize.register_parametrization(layer, last, scored)
            self._scores[name] = scored.scores

    def finish(self, network: nn.Module) -> None:
        for name in self._names:
            path, _, last = name.rpartition(".")
            parametrize.remove_parametrizations(network.get_submodule(path), last, leave_parametrized=False)
        for parameter in self._trained:
            parameter.requires_grad_(True)

    def masks(self) -> dict[str, Tensor]:
        """Those of the weights that are used: bool, by name."""
        return largest_of_each({name: score.detach() for name, score in self._scores.items()}, self._keep)

    def record(self) -> dict[str, Any]:
        return {"kept": round(kept(self.masks()), 6)}


class Scored(nn.Module):
    """A weight times the mask of its highest scores."""

    def __init__(self, weight: Tensor, keep: float, draw: torch.Generator) -> None:
        super().__init__()
        self._count = counted(keep, weight.numel())
        drawn = torch.empty(weight.shape)
        bound = math.sqrt(1 / max(1, weight[0].numel()))  # that of torch's own layers: Kaiming's uniform with a = 5^1/2
        drawn.uniform_(-bound, bound, generator=draw)
        self.scores = nn.Parameter(drawn.to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        mask: Tensor = _Highest.apply(self.scores.abs(), self._count)
        return weight * mask


class _Highest(torch.autograd.Function):
    """The mask of the ``count`` highest scores as numbers; its gradient goes to all scores as it is."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, count: int) -> Tensor:
        flat = scores.flatten()
        places = flat.argsort(descending=True, stable=True)[:count]
        return torch.zeros_like(flat).index_fill_(0, places, 1.0).view_as(scores)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
