"""Masks of weights as pure functions: bool, True where a weight stays, by the names of the tensors.

A mask is explicit. A weight that happens to be 0 is not a masked one, and what an earlier mask (``within``) has closed
stays closed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.space.space import Space

MaskDict = Mapping[str, Tensor]
"""Masks, or weights, by the names of their tensors."""


def spared(network: nn.Module) -> set[str]:
    """The parameters that a network names in ``no_weight_decay()``, and that are no weights of a layer."""
    named = getattr(network, "no_weight_decay", None)
    return set(named()) if callable(named) else set()


def maskable(network: nn.Module, space: Space) -> dict[str, Tensor]:
    """The weights that may be masked: parameters of two or more dimensions, without those of layers that compute their
    weight from them (weight norm, weight standardisation), of which a zero makes none, and without those that the
    network names in ``no_weight_decay()``, as timm's do: positions, class tokens and prompts, which are no weights of
    a layer."""
    computing = {f"{path}." for path in space.baked}
    apart = spared(network)
    return {
        name: parameter.detach()
        for name, parameter in network.named_parameters()
        if parameter.dim() > 1
        and name not in apart
        and "parametrizations." not in name
        and not any(name.startswith(path) for path in computing)
    }


def counted(share: float, total: int) -> int:
    """How many of ``total`` weights a share of them is: rounded, and at least one."""
    return max(1, round(share * total))


def largest(weights: MaskDict, keep: float, within: MaskDict | None = None) -> dict[str, Tensor]:
    """Masks of the weights with the largest absolute values of all tensors together; of equal ones the first.

    Args:
        weights: by the names of their tensors.
        keep: the share of all weights that stays, rounded, at least one; fewer where ``within`` has fewer.
        within: only weights that these masks keep may stay.

    Returns:
        bool masks of the shapes of ``weights``, on the CPU.

    Examples:
        >>> import torch
        >>> from dnal.methods.sparsity.masks import largest
        >>> largest({"a": torch.tensor([[3.0, -1.0]]), "b": torch.tensor([[-2.0, 0.0]])}, 0.5)
        {'a': tensor([[ True, False]]), 'b': tensor([[ True, False]])}
    """
    return best({name: weight.abs() for name, weight in weights.items()}, keep, within)


def best(scores: MaskDict, keep: float, within: MaskDict | None = None) -> dict[str, Tensor]:
    """Masks of the highest scores of all tensors together; arguments as of :func:`largest`."""
    flat = _flat(scores)
    allowed = torch.ones(len(flat), dtype=torch.bool) if within is None else _flat(within).bool()
    stays = _highest(flat, counted(keep, len(flat)), allowed)
    pieces = stays.split([score.numel() for score in scores.values()])
    return {name: piece.view(score.shape) for (name, score), piece in zip(scores.items(), pieces, strict=True)}


def largest_of_each(weights: MaskDict, keep: float, within: MaskDict | None = None) -> dict[str, Tensor]:
    """As :func:`largest`, with the same share of every tensor, so that none becomes empty."""
    return {
        name: largest({name: weight}, keep, None if within is None else {name: within[name]})[name]
        for name, weight in weights.items()
    }


def random_masks(counts: Mapping[str, int], within: MaskDict, draw: torch.Generator) -> dict[str, Tensor]:
    """As many weights of each tensor as ``counts`` says, at random positions: what masks with these counts are held
    against.

    Args:
        counts: how many weights of each tensor stay. within: bool masks; only what they keep may stay.
        draw: of the CPU.

    Raises:
        UserError: more are to stay than ``within`` keeps.
    """
    found = {}
    for name, mask in within.items():
        if counts[name] > int(mask.sum()):
            raise UserError(f"of '{name}' {counts[name]:,} weights cannot stay: {int(mask.sum()):,} are there.")
        found[name] = _highest(
            torch.rand(mask.numel(), generator=draw), counts[name], mask.detach().cpu().reshape(-1)
        ).view(mask.shape)
    return found


def activated(
    weights: MaskDict, start: MaskDict | None, within: MaskDict, count: int, sign: str = "negative"
) -> dict[str, Tensor]:
    """Masks that let go of ``count`` more weights: negative ones that moved least.

    A negative weight on an input that is never negative, such as a ReLU's, keeps its unit from firing; without it the
    unit fires more often. Where there are fewer negative weights, the smallest others go too, so that as many leave as
    were asked for.

    Args:
        weights: after training. start: the same before it; None where they are not known: then the smallest go.
        within: bool masks of what is there. count: how many leave, at most all that are there.
        sign: "negative", or "positive", the ablation.

    Source: Liu et al., arXiv 2212.06145 (AP), in the form of its published code, which scores by movement.
    """
    flat, there = _flat(weights), _flat(within).bool()
    moved = flat.abs() if start is None else (flat - _flat({name: start[name] for name in weights})).abs()
    asked = there & ((flat < 0) if sign == "negative" else (flat > 0))
    goes = _highest(-moved, count, asked)
    goes |= _highest(-flat.abs(), count - int(goes.sum()), there & ~asked)
    pieces = (there & ~goes).split([weight.numel() for weight in weights.values()])
    return {name: piece.view(weight.shape) for (name, weight), piece in zip(weights.items(), pieces, strict=True)}


def two_of_four(weights: MaskDict) -> dict[str, Tensor]:
    """Masks of the pattern 2:4: of every four weights in a row along the inputs, the two largest absolute values.

    Inputs are the second and further dimensions of a weight, in their order in memory (channels of a group, then the
    positions of a kernel). A tensor whose number of inputs is no multiple of four keeps all its weights.
    """
    found = {}
    for name, weight in weights.items():
        rows = weight.detach().abs().float().cpu().flatten(1)
        mask = torch.ones(rows.shape, dtype=torch.bool)
        if rows.size(1) % 4 == 0:
            fours = rows.reshape(-1, 4)
            order = fours.argsort(dim=1, descending=True, stable=True)
            mask = torch.zeros(fours.shape, dtype=torch.bool).scatter(1, order[:, :2], True)
        found[name] = mask.view(weight.shape)
    return found


def counts_of(masks: MaskDict) -> dict[str, int]:
    """How many weights of each tensor stay."""
    return {name: int(mask.sum()) for name, mask in masks.items()}


def kept(masks: MaskDict) -> float:
    """The share of all weights that stays."""
    total = sum(mask.numel() for mask in masks.values())
    return sum(counts_of(masks).values()) / total if total else 1.0


def all_of(weights: MaskDict) -> dict[str, Tensor]:
    """Masks that keep everything."""
    return {name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in weights.items()}


def of_round(keep: float, number: int, rounds: int) -> float:
    """The share of the weights that stays after round ``number`` of ``rounds``, each of which takes the same share of
    what is left: keep^(number / rounds)."""
    return keep if number >= rounds else float(keep ** (number / rounds))


def cubic(keep: float, progress: float) -> float:
    """The share of the weights that stays at a progress from 0 to 1 of gradual pruning: 1 - (1 - keep)(1 - (1 - t)^3).

    Source: Zhu and Gupta, arXiv 1710.01878, equation 1.
    """
    return 1 - (1 - keep) * (1 - (1 - min(max(progress, 0.0), 1.0)) ** 3)


def _flat(tensors: MaskDict) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1).float().cpu() for tensor in tensors.values()])


def _highest(scores: Tensor, count: int, within: Tensor) -> Tensor:
    """The ``count`` highest of (n,) scores that are ``within`` (bool), of equal ones the first; bool."""
    places = within.nonzero().squeeze(1)
    stays = torch.zeros(len(scores), dtype=torch.bool)
    stays[places[scores[places].argsort(descending=True, stable=True)[:count]]] = True
    return stays
