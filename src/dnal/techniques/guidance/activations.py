"""What the layers of a network say while it runs, by hooks on the modules of its tree."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

LAYERS = (
    nn.modules.conv._ConvNd, nn.Linear, nn.RNNBase, nn.MultiheadAttention, nn.LayerNorm,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)  # fmt: skip
"""Modules whose outputs are compared; of several outputs the first."""


class Said(NamedTuple):
    """What a layer said: a tensor, and whether its second dimension is that of the examples."""

    output: Tensor
    second: bool


class Activations:
    """The outputs of a network's layers in the order in which they ran in the last forward pass.

    The hooks stand on the network's own modules, so that a wrapper around it (torch.compile, DistributedDataParallel,
    Lightning Fabric) has them too if they are there first.

    Args:
        network: whose modules get hooks, until :meth:`close`.
        graph: whether only passes count that gradients go through; the evaluation of a network in training is none.
    """

    def __init__(self, network: nn.Module, *, graph: bool) -> None:
        self._graph = graph
        self._said: list[Said] = []
        layers = [module for module in network.modules() if isinstance(module, LAYERS)]
        self.count = len(layers)
        self._hooks: list[Any] = [network.register_forward_pre_hook(self._begin)]
        self._hooks += [layer.register_forward_hook(self._hear) for layer in layers]

    def _begin(self, module: nn.Module, args: Any) -> None:
        self._said.clear()

    def _hear(self, module: nn.Module, args: Any, output: Any) -> None:
        while isinstance(output, tuple | list) and output and not isinstance(output, PackedSequence):
            output = output[0]  # a packed sequence has no dimension of the examples
        if isinstance(output, Tensor) and (torch.is_grad_enabled() or not self._graph):
            self._said.append(Said(output, output.dim() == 3 and getattr(module, "batch_first", True) is False))

    def hidden(self, size: int) -> list[Tensor]:
        """What all layers said except for the last one, whose output is mostly the logits, each (size, features);
        it is forgotten here.

        Args:
            size: of the batch. What has no such dimension is left out.
        """
        rows = [each_example(said, size) for said in self._said[:-1]]
        self._said.clear()
        return [each for each in rows if each is not None]

    def close(self) -> None:
        """Takes the hooks away."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._said = [], []


def each_example(said: Said, size: int) -> Tensor | None:
    """An output as (size, features): positions and channels of an example side by side. Windows of an example, which
    stand one after another in a larger batch, are its features too. None where no dimension is that of the examples."""
    output, second = said
    if output.dim() > 2 and (second or (output.shape[0] != size and output.shape[1] == size)):
        output = output.movedim(1, 0)
    if not output.dim() or not size or not len(output) or len(output) % size:
        return None
    return output.reshape(size, -1)
