"""Iterative pruning: rounds of masking and training, from the weights of the start (tickets) or those of now."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dnal.base.errors import OptionError
from dnal.base.options import option
from dnal.changes.masks import HeldMasks, Masks, apply_masks
from dnal.methods.method import spend_in_rounds
from dnal.methods.sparsity.masks import (
    activated,
    all_of,
    counts_of,
    kept,
    largest,
    largest_of_each,
    maskable,
    of_round,
    random_masks,
    two_of_four,
)
from dnal.methods.sparsity.sparsifier import Sparsifier, masked
from dnal.methods.task import Task
from dnal.settings import Tickets
from dnal.space.space import Space
from dnal.train.phase import run_phase
from dnal.train.resume.data_position import DataPosition

HALF = 0.5
"""Of the weights stays in the pattern 2:4."""
ROUND = 40
"""Epochs of the base and of each round by default."""


class Pruning(NamedTuple):
    """What a round decides from.

    Attributes:
        weights: those of the trained network that may be masked. keep: the share of all of them that is to stay.
        within: the masks of the round before. draw: of the round's own, on the CPU.
        start: the weights from which the training began; None where they are not known.
    """

    weights: dict[str, Tensor]
    keep: float
    within: Mapping[str, Tensor]
    draw: torch.Generator
    start: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Rounds(Sparsifier, Tickets):
    """Masks a share of what is left, trains, and does so again. A subclass says which weights go.

    The base is trained densely. Each of the ``rounds`` then masks the same share of what is left, so that ``keep``
    stays after the last, puts the weights back that ``reset`` says, and trains with the masks held. The last round's
    training is that of the phase "retrain", those before make the phase "architecture". With ``activating`` a part of
    what a round masks are negative weights (AP, Liu et al., arXiv 2212.06145), and as many leave in all.
    """

    trains: ClassVar[bool] = True
    stages: ClassVar[int] = 2
    epochs: ClassVar[tuple[int, int, int]] = (ROUND, 2 * ROUND, ROUND)

    activating: float = option(
        0.0, "Share of what a round masks that are negative weights of least movement (AP).", least=0, most=1
    )
    sign: Literal["negative", "positive"] = option("negative", "Of those; positive is the ablation.")

    pattern: Literal["free", "2:4"] = option(
        "free", "2:4: of every four inputs in a row at most two stay, where the inputs are a multiple of four."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        spend_in_rounds(self, self.rounds, ROUND)

    def check(self, network: nn.Module, space: Space) -> None:
        super().check(network, space)
        if self.pattern == "2:4" and self.keep > HALF:
            warnings.warn(
                f"the pattern 2:4 leaves half of the weights wherever inputs are a multiple of four, so that keep="
                f"{100 * self.keep:g}% is not reached.",
                stacklevel=2,
            )

    def rewind(self, base_is_trained: bool) -> float | None:
        if self.restarts(base_is_trained):
            return self.early if self._reset(base_is_trained) == "early" else 0.0
        return 0.0 if self.activating and not base_is_trained else None  # movement is counted from there

    def restarts(self, base_is_trained: bool) -> bool:
        reset = self._reset(base_is_trained)
        if base_is_trained and reset != "none":
            raise OptionError(
                "reset", f"is 'none' where the base comes trained: of its start nothing is known, so not {reset}."
            )
        return reset != "none"

    def _reset(self, base_is_trained: bool) -> str:
        automatic = "none" if base_is_trained else "early"
        return automatic if self.reset == "auto" else self.reset

    def chosen(self, pruning: Pruning) -> dict[str, Tensor]:
        """Which weights stay after a round: bool masks within those of the round before."""
        raise NotImplementedError

    def pruned(self, pruning: Pruning) -> dict[str, Tensor]:
        """What :meth:`chosen` says; a share ``activating`` of what it would mask are negative weights instead."""
        if self.pattern == "2:4":
            held = {name: weight * pruning.within[name].to(weight) for name, weight in pruning.weights.items()}
            pairs = two_of_four(held)
            pruning = pruning._replace(within={name: mask & pairs[name] for name, mask in pruning.within.items()})
        masks = self.chosen(pruning)
        total, before, after = (sum(m.numel() for m in masks.values()), _count(pruning.within), _count(masks))
        spared = int(self.activating * (before - after))
        if not spared:
            return masks
        less = self.chosen(pruning._replace(keep=(after + spared) / total))
        count = _count(less) - after
        return activated(pruning.weights, pruning.start, less, count, self.sign) if count > 0 else masks

    def choose(self, task: Task) -> Masks:
        context, kept_state, network = task.context, task.context.checkpointer, task.network
        stage, start = kept_state.stage, task.early
        resets = start is not None and self.reset != "none"
        if stage is None:
            number, masks = 0, all_of(maskable(network, task.space))
            if self.trains:  # no loop has put back yet what was kept of the phase's start
                kept_state.resume(task.phase.name, {"place": DataPosition(context.loader)}, context.history)
        else:
            with kept_state.believed():
                number, masks = int(stage["round"]), dict(stage["masks"])
                start = start if resets else stage["start"]
            self._train(task, number, masks)
        while True:
            number += 1
            share, draw = of_round(self.keep, number, self.rounds), _draw(task.seed, number)
            masks = self.pruned(Pruning(maskable(network, task.space), share, masks, draw, start))
            if resets:
                network.load_state_dict(task.early or {})
            apply_masks(network, masks)
            if number >= self.rounds:
                return masked(task.space, masks, self.keep)
            if self.activating and not resets:
                start = {name: weight.clone() for name, weight in maskable(network, task.space).items()}
            kept_state.begin_stage(
                {"round": number, "masks": masks, "start": None if resets or not self.activating else start},
                {"network": network, "place": DataPosition(context.loader)}, context.history,
            )  # fmt: skip
            self._train(task, number, masks)

    def _train(self, task: Task, number: int, masks: Mapping[str, Tensor]) -> None:
        """The training of a round before the last, or what is left of it."""
        hooks = [HeldMasks(masks, kept(masks))]
        phase = task.phase.share(number, self.rounds - 1)
        run_phase(phase, task.network, task.context, hooks=hooks, validate=task.validate)


@dataclass(frozen=True)
class MagnitudeMasks(Rounds):
    """Keeps the largest weights of the whole network, in rounds, and holds the others at zero.

    Weights are those of two or more dimensions; biases and norms stay. Each round masks the smallest of what is left,
    with one threshold for the whole network, and trains again from the weights of an early step (`reset`: lottery
    tickets). A channel that nothing but zeros read is removed, which changes nothing that the network computes; the
    other tensors keep their shapes. Takes no budget: zeros are no fewer MACs, and `keep` says how much stays. One round
    with `reset=none` is magnitude pruning and fine-tuning. With --reinitialize the weights that stay are drawn again:
    the control of what the start was worth. Sources: Han et al., arXiv 1506.02626; Frankle and Carbin, arXiv
    1803.03635; early weights: Frankle et al., arXiv 1912.05671.
    """

    def chosen(self, pruning: Pruning) -> dict[str, Tensor]:
        return largest(pruning.weights, pruning.keep, pruning.within)


@dataclass(frozen=True)
class LayerMagnitudeMasks(Rounds):
    """Keeps the same share of the weights of every layer, the largest, in rounds.

    As ``magnitude-masks``, with a threshold for each tensor, so that no layer becomes empty; at small shares usually
    behind it, since narrow layers lose what wide ones could spare. Source: Han et al., arXiv 1506.02626.
    """

    def chosen(self, pruning: Pruning) -> dict[str, Tensor]:
        return largest_of_each(pruning.weights, pruning.keep, pruning.within)


@dataclass(frozen=True)
class RandomMasks(Rounds):
    """Keeps random weights, of each layer as many as ``magnitude-masks`` would at each round: the control.

    What is ahead of it by no more than noise owes what it reaches to how many weights each layer has, and not to which
    ones. Source: Frankle and Carbin, arXiv 1803.03635; counts of each layer: Su et al., arXiv 2009.11094.
    """

    def chosen(self, pruning: Pruning) -> dict[str, Tensor]:
        counts = counts_of(largest(pruning.weights, pruning.keep, pruning.within))
        return random_masks(counts, pruning.within, pruning.draw)


def _count(masks: Mapping[str, Tensor]) -> int:
    return sum(counts_of(masks).values())


def _draw(seed: int, number: int) -> torch.Generator:
    """The random numbers of a round."""
    draw = torch.Generator().manual_seed(seed)
    seeds = torch.randint(2**62, (number,), generator=draw)
    return draw.manual_seed(int(seeds[-1]))
