"""Trainings of the same network with and without masks, as studies of lottery tickets compare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.changes.masks import HeldMasks, apply_masks
from dnal.methods.sparsity.masks import all_of, kept, of_round
from dnal.train.loader import Loader
from dnal.train.phase import Context, Loss, Phase, run_phase
from dnal.train.resume.early import EarlyWeights
from dnal.train.technique import Technique


class Trained(NamedTuple):
    """A trained network. early: its state at the step that tickets go back to. masks: those of its training."""

    network: nn.Module
    early: dict[str, Tensor]
    masks: dict[str, Tensor]


@dataclass(frozen=True)
class Training:
    """How the networks of a study are trained, all alike.

    Attributes:
        network, batches: of a seed, new ones. phase: epochs, learning rate and optimizer.
        loss: (outputs, targets) -> scalar. weights: those of a network that may be masked.
        early: where the step is that tickets go back to, as a share of all steps; 0: before the first one.
    """

    network: Callable[[int], nn.Module]
    batches: Callable[[int], Loader]
    phase: Phase
    loss: Loss
    weights: Callable[[nn.Module], dict[str, Tensor]]
    early: float

    def run(
        self, seed: int, masks: Mapping[str, Tensor] | None = None, start: Mapping[str, Tensor] | None = None
    ) -> Trained:
        """A network that was trained with these masks from this start; none stand for all weights, and the first
        ones."""
        network = self.network(seed)
        if start is not None:
            network.load_state_dict(start)
        held = all_of(self.weights(network)) if masks is None else dict(masks)
        apply_masks(network, held)
        early = EarlyWeights(self.early)
        hooks: list[Technique] = [early] if masks is None else [early, HeldMasks(held, kept(held))]
        torch.manual_seed(seed)
        around = Context(Fabric(accelerator="cpu", devices=1), self.batches(seed), self.loss)
        run_phase(self.phase, network, around, hooks=hooks)
        return Trained(network.eval(), early.state_of(network), held)


def kept_shares(keep: float, rounds: int) -> list[float]:
    """The shares of the weights that stay after each of so many rounds, as rows name them."""
    return [round(of_round(keep, number, rounds), 4) for number in range(1, rounds + 1)]


def matrices(network: nn.Module) -> dict[str, Tensor]:
    """The weights of two or more dimensions, without gradients, by name."""
    return {name: weight.detach() for name, weight in network.named_parameters() if weight.dim() > 1}
