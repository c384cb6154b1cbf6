"""Many small networks of one shape, trained in one pass over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dnal.predictors.zoo.recipe import Part, Shape, Training

MOMENTUM = 0.9
KERNEL, STRIDE, PADDING = 3, 2, 1
AT_ONCE = 500
"""Images on which all networks are measured at a time."""


class Stacked(NamedTuple):
    """The parameters of M networks, layer by layer: weights (M, out, in) or (M, out, in, 3, 3), biases (M, out)."""

    weights: list[Tensor]
    biases: list[Tensor]

    def first(self, number: int) -> Stacked:
        """Of the first networks, sharing their memory."""
        return Stacked([own[:number] for own in self.weights], [own[:number] for own in self.biases])


def initial(shape: Shape, inputs: int, classes: int, trainings: Sequence[Training]) -> Stacked:
    """Before training: He's normal weights times a scale, biases 0. A network's do not depend on the others.

    Args:
        inputs: channels of an image, or its pixels for linear layers.
    """
    sizes = [inputs, *shape.widths, classes]
    kernel = [KERNEL, KERNEL] if shape.kind == "cnn" else []
    shapes = [
        [out, before, *(kernel if place < len(shape.widths) else [])]
        for place, (before, out) in enumerate(pairwise(sizes))
    ]
    own: list[list[Tensor]] = []
    for training in trainings:
        draw = torch.Generator().manual_seed(training.seed)
        drawn = [torch.randn(each, generator=draw) for each in shapes]
        own.append([one * training.scale * (2 / one[0].numel()) ** 0.5 for one in drawn])
    weights = [torch.stack([each[place] for each in own]) for place in range(len(shapes))]
    return Stacked(weights, [torch.zeros(len(own), out) for out in sizes[1:]])


def answers(shape: Shape, parameters: Stacked, x: Tensor) -> Tensor:
    """Logits (M, B, classes) of M networks.

    Args:
        x: images (M, B, C, H, W), each network's own; or (B, C, H, W), the same for all.
    """
    weights, biases = parameters
    number = len(weights[0])
    if shape.kind == "mlp":
        flat = x.flatten(-3)
        found = flat if flat.dim() == 3 else flat.expand(number, -1, -1)
        for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            found = torch.baddbmm(bias[:, None], found, weight.transpose(1, 2))
            found = found if place == len(weights) - 1 else _activated(found, shape.activation)
        return found
    groups = number if x.dim() == 5 else 1
    maps = x.transpose(0, 1).flatten(1, 2) if x.dim() == 5 else x
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        maps = F.conv2d(maps, weight.flatten(0, 1), bias.flatten(), STRIDE, PADDING, groups=groups)
        maps, groups = _activated(maps, shape.activation), number
    pooled = maps.mean((2, 3)).view(len(maps), number, -1).transpose(0, 1)
    return torch.baddbmm(biases[-1][:, None], pooled, weights[-1].transpose(1, 2))


def trained_together(part: Part, x: Tensor, y: Tensor, classes: int, batch: int) -> Stacked:
    """Trains the networks of a part by SGD with momentum on the cross entropy, all at once.

    Each has images, an order, a learning rate, a decay and a length of its own; one that is at its end leaves the pass,
    so the longest come last.

    Args:
        x: images (N, C, H, W). y: (N,) their classes. batch: images of a step.

    Returns:
        the trained parameters, the networks in the order of the part.
    """
    order = sorted(range(len(part.trainings)), key=lambda place: -part.trainings[place].steps)
    trainings = [part.trainings[place] for place in order]
    inputs = x.shape[1] if part.shape.kind == "cnn" else x[0].numel()
    whole = initial(part.shape, inputs, classes, trainings)
    momenta = Stacked([torch.zeros_like(own) for own in whole.weights], [torch.zeros_like(own) for own in whole.biases])
    chosen = [_batches(training, len(x), batch) for training in trainings]
    ends = torch.tensor([training.steps for training in trainings])
    lr, decay = (torch.tensor([getattr(each, name) for each in trainings]) for name in ("lr", "decay"))
    for step in range(int(ends.max())):
        running = int((ends > step).sum())
        rows = torch.stack([own[step] for own in chosen[:running]])
        own = whole.first(running)
        parameters = [value.detach().requires_grad_() for value in (*own.weights, *own.biases)]
        depth = len(own.weights)
        logits = answers(part.shape, Stacked(parameters[:depth], parameters[depth:]), x[rows])
        loss = F.cross_entropy(logits.flatten(0, 1), y[rows].flatten(), reduction="sum") / batch
        gradients = torch.autograd.grad(loss, parameters)
        held = momenta.first(running)
        with torch.no_grad():
            for value, gradient, momentum in zip(parameters, gradients, (*held.weights, *held.biases), strict=True):
                sizes = (-1, *[1] * (value.dim() - 1))
                momentum.mul_(MOMENTUM).add_(gradient + decay[:running].view(sizes) * value)
                value.sub_(lr[:running].view(sizes) * momentum)  # the whole's own memory
    back = torch.tensor(order).argsort()
    return Stacked([own[back] for own in whole.weights], [own[back] for own in whole.biases])


def accuracies(shape: Shape, parameters: Stacked, x: Tensor, y: Tensor) -> Tensor:
    """The share of images (N, C, H, W) of which each network says the class, (M,)."""
    right = torch.zeros(len(parameters.weights[0]), dtype=torch.long)
    with torch.inference_mode():
        for images, targets in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True):
            right += (answers(shape, parameters, images).argmax(-1) == targets).sum(1)
    return right.double() / len(y)


def _batches(training: Training, images: int, batch: int) -> Tensor:
    """Which images a network sees in each step, (steps, batch): drawn from its own."""
    draw = torch.Generator().manual_seed(training.seed + 1)
    own = torch.randperm(images, generator=draw)[: training.examples]
    return own[torch.randint(len(own), (training.steps, batch), generator=draw)]


def _activated(x: Tensor, name: str) -> Tensor:
    found: Tensor = x.tanh() if name == "tanh" else getattr(F, name)(x)
    return found
