"""Gradient descent in the embedding: a point whose network fits the data, and becomes a hard choice on the way.

Source: the published code of SWAT-NN (arXiv 2506.08270), whose constants these are, except for the start: a network
drawn by lot, encoded, where theirs is a normal point.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.models.genomes.genome import Layer, text_of
from dnal.models.genomes.neurons import ACTIVATIONS, build
from dnal.search.embedding.autoencoder import Autoencoder
from dnal.search.embedding.mlps import MLPs, drawn
from dnal.search.embedding.trained import MLPSpace

RATE, THRESHOLD_RATE = 0.1, 1e-3
"""Of Adam, for the point and for the threshold below which weights are zero."""
MOST_THRESHOLD = 3.0
STEEP, STEEP_COUNT = 200.0, 20.0
"""Of the sigmoids by which weights and neurons are there, and of those that count weights."""
WEIGHTS, COUNTED, SIZES = 1e-4, 0.01, 0.1
"""What weights cost, what their number has of it, and what their absolute values have."""
APART, NEURONS = 0.4, 1e-3
"""What is gained where neurons are clearly there or not, and what each of them costs."""
COLDEST, SOFT = 0.01, 0.375
"""The temperature of activations in the end, and the share of the steps after which it is reached."""
LOOKS = 25
"""Steps between two looks at the hard network."""
ROWS = 1024
"""Of a table that a step sees; of a larger one, others in each step."""


class Found(NamedTuple):
    """What a descent found.

    Attributes:
        networks: one, hard: weights below the threshold are zero, a neuron is there or not, and has one activation.
        soft: the same before its choices were made hard. loss: of the hard one, mean squares on the training data.
    """

    networks: MLPs
    soft: MLPs
    loss: float


def descended(embedding: Autoencoder, x: Tensor, y: Tensor, depth: int, space: MLPSpace, seed: int) -> Found:
    """The best hard network on the way of one descent, with ``depth`` hidden layers.

    Args:
        x: rows, (P, features), no more features than the embedding's width. y: targets, (P,). Both about as large as 1.
    """
    draw = torch.Generator().manual_seed(seed)
    x = F.pad(x, (0, space.width - x.size(1)))
    for parameter in embedding.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        start = embedding.encode(drawn(1, space.width, int(torch.randint(space.depth, (), generator=draw)) + 1, draw))
    point, threshold = start.requires_grad_(True), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam(
        [{"params": [point], "lr": RATE}, {"params": [threshold], "lr": THRESHOLD_RATE}]
    )  # fmt: skip
    best: Found | None = None
    best_total = 0.0
    for step in range(space.steps):
        temperature = max(COLDEST, 1 + (COLDEST - 1) * step / (SOFT * space.steps))
        decoded = embedding.decode(point, depth, temperature)
        rows = slice(None) if len(x) <= ROWS else torch.randint(len(x), (ROWS,), generator=draw)
        soft = softened(decoded, threshold)
        cost = penalty(decoded, soft, threshold, space.sparsity)
        loss = (soft(x[rows])[0] - y[rows]).square().mean() + cost
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            threshold.clamp_(0.0, MOST_THRESHOLD)
            last = step + 1 == space.steps
            if last or (step >= SOFT * space.steps and (step + 1) % LOOKS == 0):
                decoded = embedding.decode(point, depth, COLDEST)
                hard, soft = hardened(decoded, threshold), softened(decoded, threshold)
                error = float((hard(x)[0] - y).square().mean())
                total = error + float(penalty(decoded, soft, threshold, space.sparsity))
                if best is None or total < best_total:
                    best, best_total = Found(hard, soft, error), total
    assert best is not None
    return best


def softened(networks: MLPs, threshold: Tensor) -> MLPs:
    """Weights and neurons there as far as they are above their thresholds, by steep sigmoids."""
    return networks._replace(
        weights=networks.weights * _above(networks.weights, threshold),
        out=networks.out * _above(networks.out, threshold),
        on=torch.sigmoid(STEEP * (networks.on - 0.5)),
    )  # fmt: skip


def hardened(networks: MLPs, threshold: Tensor) -> MLPs:
    """Weights below the threshold are zero, a neuron is there or not, and has the activation of which it has most."""
    return networks._replace(
        weights=networks.weights * (networks.weights.abs() >= threshold),
        out=networks.out * (networks.out.abs() >= threshold),
        on=(networks.on >= 0.5).float(),
        kinds=F.one_hot(networks.kinds.argmax(3), len(ACTIVATIONS)).float(),
    )


def penalty(decoded: MLPs, soft: MLPs, threshold: Tensor, sparsity: float) -> Tensor:
    """What weights and neurons cost: their number and size, whether neurons are clear choices, and how many are."""
    cost = torch.zeros(())
    for weights in (soft.weights, soft.out):
        counted = torch.sigmoid(STEEP_COUNT * (weights.abs() - threshold)).sum()
        cost = cost + WEIGHTS * (COUNTED * counted + SIZES * weights.abs().sum())
    return sparsity * (cost + NEURONS * decoded.on.mean()) - APART * decoded.on.std(2, correction=0).mean()


def network_of(hard: MLPs, x_scale: Tensor, y_scale: float) -> tuple[str, nn.Module]:
    """The name of a hard network, and the network, which has no neurons but those that are there, sorted by their
    activations; where a layer would have none, one stays that nothing reads.

    Args:
        x_scale: (features,), by which columns were divided before it saw them. y_scale: by which targets were.
    """
    features = len(x_scale)
    read = hard.weights[0, 0][:, :features] / x_scale
    layers, matrices = [], []
    for depth in range(hard.weights.size(1)):
        on, kinds = hard.on[0, depth], hard.kinds[0, depth].argmax(1)
        there = on.nonzero().flatten()
        at = there if len(there) else torch.zeros(1, dtype=torch.long)
        at = at[kinds[at].argsort(stable=True)]
        layers.append(Layer("h", tuple(int((kinds[at] == kind).sum()) for kind in range(len(ACTIVATIONS)))))
        matrices.append((read[at], hard.bias[0, depth][at]))
        after = hard.weights[0, depth + 1] if depth + 1 < hard.weights.size(1) else hard.out[:1]
        read = (after * on)[:, at]
    matrices.append((read * y_scale, hard.shift[:1] * y_scale))
    network = build(tuple(layers), classes=1, input_shape=(features,))
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for module, (weight, bias) in zip(linear, matrices, strict=True):
            module.weight.copy_(weight)
            module.bias.copy_(bias)
    return f"neurons/{text_of(tuple(layers))}", network.eval()


def _above(weights: Tensor, threshold: Tensor) -> Tensor:
    return torch.sigmoid(STEEP * (weights.abs() - threshold))
