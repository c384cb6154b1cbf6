"""Whether the examples of a batch are told apart: each answers to its own hyperparameters, and to no others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dnal.base.errors import UserError
from dnal.space.surgery.inputs import Inputs, batch_size, cloned
from dnal.space.surgery.running import call, in_eval, undisturbed
from dnal.space.surgery.tensors import held_tensors
from dnal.techniques.stn.layers import HyperDropout, HyperLayer, Now
from dnal.train.rows import is_of_examples

FAR = 100.0
"""How far the last example's hyperparameters are moved: V is small at the start, and the answer should be seen."""
SAME = 1e-3
"""A change of an answer, relative to the largest number, below which it is none."""


def check_apart(network: nn.Module, now: Now, inputs: Inputs) -> None:
    """Refuses a network in which an example's answer depends on the hyperparameters of another example, though not on
    its inputs: some layer has something else along dimension 0 than the examples in their order, such as the places of
    sequences, which pass for examples where there are as many.

    Where the network itself mixes the examples, or it is not known what of the inputs belongs to which, it is not told.

    Args:
        network: with layers that answer; stays as it is. now: that of these layers. inputs: of several examples.

    Raises:
        UserError: naming the first such layer.
    """
    size = batch_size(inputs)
    if size < 2 or not is_of_examples(inputs, size):
        return
    layers = {name: each for name, each in network.named_modules() if isinstance(each, HyperLayer | HyperDropout)}
    device = now.free.device
    free, dropout = now.free.detach().expand(size, -1).clone(), torch.zeros(size, device=device)
    usual, moved = Now(free, dropout, tried=True), Now(free.clone(), dropout.clone(), tried=True)
    moved.free[-1] += FAR
    moved.dropout[-1] = 0.5

    def answers(*far: str, inputs: Inputs = inputs) -> list[Tensor]:
        """Those of all examples but the last, where these layers read its moved hyperparameters."""
        for name, layer in layers.items():
            layer.now = moved if name in far else usual
        found = held_tensors(call(network, cloned(inputs)))
        return [each[:-1].float() for each in found if each.is_floating_point() and each.dim() and len(each) == size]

    with undisturbed(inputs), torch.no_grad(), in_eval(network):
        try:
            before = answers()
            if _same(before, answers(*layers)) or not _same(before, answers(inputs=_without_last(inputs, size))):
                return
            first = next((name for name in layers if not _same(before, answers(name))), "")
        finally:
            for layer in layers.values():
                layer.now = now
    raise UserError(
        f"in '{first}' the hyperparameters of one example change what the network says of another: it reads something "
        "else than the examples along dimension 0, such as the places of sequences (L, N, ...). In self-tuning let it "
        "read (N, ...), or give its layer a class of its own, under that of torch, so that it stays as it is."
    )


def _same(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(
        bool((one - other).abs().max() <= SAME * one.abs().max())
        for one, other in zip(some, others, strict=True)
        if one.numel() and bool(one.isfinite().all())
    )


def _without_last(inputs: Inputs, size: int) -> Inputs:
    """The inputs with the first example in the place of the last one too."""

    def cut(leaf: Tensor) -> Tensor:
        if not leaf.dim() or len(leaf) != size:
            return leaf
        return torch.cat([leaf[:-1], leaf[:1]])

    found: Any = tree_map_only(Tensor, cut, inputs)
    return found  # type: ignore[no-any-return]
