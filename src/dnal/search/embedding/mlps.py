"""Many small MLPs as tensors: what they compute, how they are drawn, how they are written for an encoder.

Source: Huang, Montazerin and Srivastava, arXiv 2410.08339; the layout of the code and the distribution of networks
follow the published code of its successor, SWAT-NN (arXiv 2506.08270), with smaller weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dnal.models.genomes.neurons import ACTIVATIONS, SLOPE

LARGEST = 2.0
"""Weights are drawn from between its negative and it; of SWAT-NN 5, whose functions are far steeper."""
SPARSE = (0.0, 0.2, 0.4)
"""Shares of the weights that are zero in a network that is drawn."""
PER_LAYER = 2 + len(ACTIVATIONS)
"""Numbers of a neuron beside its weights: bias, one for each activation, and whether it is there."""


class MLPs(NamedTuple):
    """N networks of D hidden layers, at most W neurons in each, and one output.

    Attributes:
        weights: (N, D, W, W), of each neuron what it reads with; the first layer reads W inputs. bias: (N, D, W).
        kinds: (N, D, W, 3), shares of sigmoid, tanh and leaky ReLU. on: (N, D, W), how far a neuron is there, 0 to 1.
        out: (N, W), with which the output reads. shift: (N,), its bias.
    """

    weights: Tensor
    bias: Tensor
    kinds: Tensor
    on: Tensor
    out: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """What they compute of x (P, W), or (N, P, W): (N, P)."""
        h = x.expand(len(self.out), *x.shape[-2:])
        for layer in range(self.weights.size(1)):
            a = torch.baddbmm(self.bias[:, layer, None], h, self.weights[:, layer].transpose(1, 2))
            kinds = self.kinds[:, layer, None]
            mixed = kinds[..., 0] * a.sigmoid() + kinds[..., 1] * a.tanh() + kinds[..., 2] * F.leaky_relu(a, SLOPE)
            h = mixed * self.on[:, layer, None]
        return torch.einsum("npw,nw->np", h, self.out) + self.shift[:, None]

    def code(self, most: int) -> Tensor:
        """For an encoder of up to ``most`` hidden layers: (N, W, columns, 2), a row for each place of a neuron; the
        second channel is 1 where the first says something, which padding does not."""
        number, depth, width, _ = self.weights.shape
        layers = [
            torch.cat([self.weights[:, d], self.bias[:, d, :, None], self.kinds[:, d], self.on[:, d, :, None]], 2)
            for d in range(depth)
        ]
        last = torch.stack([self.out, self.shift[:, None].expand(-1, width)], 2)
        padding = last.new_zeros(number, width, (most - depth) * (width + PER_LAYER))
        values = torch.cat([last, *layers, padding], 2)
        said = torch.ones_like(values)
        said[:, :, values.size(2) - padding.size(2) :] = 0
        return torch.stack([values, said], 3)

    def permuted(self, order: Tensor, layer: int) -> MLPs:
        """The same functions with the neurons of a hidden layer in another order, (W,)."""
        weights, bias, kinds, on = (each.clone() for each in (self.weights, self.bias, self.kinds, self.on))
        for each in (weights, bias, kinds, on):
            each[:, layer] = each[:, layer][:, order]
        out = self.out
        if layer + 1 < weights.size(1):
            weights[:, layer + 1] = weights[:, layer + 1][:, :, order]
        else:
            out = out[:, order]
        return MLPs(weights, bias, kinds, on, out, self.shift)


def columns(width: int, depth: int) -> int:
    """Numbers of a row of networks with so many hidden layers."""
    return 2 + depth * (width + PER_LAYER)


def of_columns(values: Tensor, depth: int, temperature: float | Tensor = 1.0) -> MLPs:
    """Networks from numbers without bounds, (N, W, columns): activations are a softmax, neurons are there by a sigmoid.

    Args:
        temperature: of the softmax; near 0 each neuron has one activation.
    """
    width = values.size(1)
    last, rest = values[:, :, :2], values[:, :, 2:].unflatten(2, (depth, width + PER_LAYER)).transpose(1, 2)
    weights, bias, kinds, on = rest.split([width, 1, len(ACTIVATIONS), 1], 3)
    return MLPs(
        weights, bias.squeeze(3), (kinds / temperature).softmax(3), on.squeeze(3).sigmoid(), last[:, :, 0],
        last[:, :, 1].mean(1),
    )  # fmt: skip


def drawn(number: int, width: int, depth: int, draw: torch.Generator) -> MLPs:
    """Networks by lot: weights even between -2 and 2, 0 to 40 % of them zero; about half of the neurons are there, one
    of each layer at least; each has one activation; a random number of inputs is read. The output is scaled by what it
    is on random points, to no more than 1.

    Args:
        width: of all layers, and of the inputs. depth: hidden layers.
    """

    def even(*shape: int, most: float = LARGEST) -> Tensor:
        return (2 * torch.rand(*shape, generator=draw) - 1) * most

    shape = (number, depth, width)
    zeros = torch.tensor(SPARSE)[torch.randint(len(SPARSE), (number, 1, 1, 1), generator=draw)]
    weights = even(*shape, width) * (torch.rand(*shape, width, generator=draw) >= zeros)
    inputs = torch.randint(1, width + 1, (number, 1, 1), generator=draw)
    weights[:, 0] *= torch.arange(width) < inputs
    kinds = F.one_hot(torch.randint(len(ACTIVATIONS), shape, generator=draw), len(ACTIVATIONS)).float()
    on = (torch.rand(*shape, generator=draw) < 0.5).float()
    on.scatter_(2, torch.randint(width, (number, depth, 1), generator=draw), 1.0)
    found = MLPs(weights, even(*shape, most=1.0), kinds, on, even(number, width), even(number, most=1.0))
    largest = found(points(64, width, draw)).abs().amax(1).clamp(min=1.0)
    return found._replace(out=found.out / largest[:, None], shift=found.shift / largest)


def points(number: int, width: int, draw: torch.Generator) -> Tensor:
    """Points from the cube between -1 and 1, (number, width)."""
    return 2 * torch.rand(number, width, generator=draw) - 1
