"""A trained network as the chain of its layers, with their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dnal.base.errors import UserError

Array = NDArray[np.float32]
Step = tuple[str | int, ...]
"""What is computed of what a layer says: an activation or "mean" by name, or a pooling with the height and width of its
kernel, its stride and its padding."""
ACTIVATIONS = ("relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu")
MEAN, POOLINGS = "mean", ("max_pool", "avg_pool")
MOST_LAYERS = 64
MOST_NEURONS = 2**12
"""Of a network, its inputs too."""
MOST_WEIGHTS = 2**22


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer or a convolution, and what follows before the next one.

    Attributes:
        weight: (out, in), or (out, in, height, width) of a convolution. bias: (out,), 0 where there is none.
        steps: what is computed of it, in order.
        stride, padding, dilation: of a convolution.
    """

    weight: Array
    bias: Array
    steps: tuple[Step, ...] = ()
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution."""
        return self.weight.ndim == 4

    @property
    def activation(self) -> str:
        """The first activation that follows, or "none"."""
        return next((str(step[0]) for step in self.steps if step[0] in ACTIVATIONS), "none")


@dataclass(frozen=True, eq=False)
class Chain:
    """A network whose layers follow one another: each reads the one before, and nothing else.

    A linear layer reads what comes before it flattened: after a convolution each of its channels is several columns.

    Attributes:
        inputs: the sizes of an example, (F,) or (C, H, W). layers: in their order.

    Raises:
        UserError: layers that do not fit each other, weights that are not finite, or more than is read.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> first = Layer(rng.normal(size=(8, 4)), np.zeros(8), (("relu",),))
        >>> network = Chain((4,), (first, Layer(rng.normal(size=(3, 8)), np.zeros(3))))
        >>> network.channels
        (4, 8, 3)
    """

    inputs: tuple[int, ...]
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        layers = tuple(
            replace(each, weight=_numbers(each.weight), bias=_numbers(each.bias)) for each in self.layers
        )  # fmt: skip
        object.__setattr__(self, "layers", layers)
        if len(self.inputs) not in (1, 3) or not 1 <= len(layers) <= MOST_LAYERS:
            raise UserError(
                f"a chain has inputs (F,) or (C, H, W) and 1 to {MOST_LAYERS} layers, not {self.inputs} and "
                f"{len(layers)}."
            )
        for place, layer in enumerate(layers):
            before, shape = self.channels[place], layer.weight.shape
            if len(shape) not in (2, 4) or 0 in shape or layer.bias.shape != shape[:1]:
                raise UserError(
                    f"layer {place} has weight {shape} and bias {layer.bias.shape}; (out, in) go with (out,)."
                )
            if shape[1] != before if layer.convolves else shape[1] % before:
                raise UserError(f"layer {place} reads {shape[1]} channels, and what comes before it has {before}.")
            if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
                raise UserError(f"layer {place} has a weight that is no finite number; its training has failed.")
        neurons, weights = sum(self.channels), sum(layer.weight.size for layer in layers)
        if neurons > MOST_NEURONS or weights > MOST_WEIGHTS:
            raise UserError(
                f"a network of {neurons:,} neurons and {weights:,} weights is larger than what is read "
                f"({MOST_NEURONS:,} and {MOST_WEIGHTS:,}); take smaller ones."
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """How many inputs the first layer has, then how many outputs each."""
        first = self.layers[0]
        return (first.weight.shape[1], *(len(layer.bias) for layer in self.layers))

    def kernel(self, place: int) -> Array:
        """The weight of a layer as (out, in, positions): what each channel before it gives to each output. Positions
        are those of the kernel, or of the map that a linear layer reads."""
        weight = self.layers[place].weight
        return weight.reshape(len(weight), self.channels[place], -1)


def check_chains(networks: Any) -> None:
    """Refuses what is no network of weights.

    Raises:
        UserError: naming what it is instead.
    """
    other = None if isinstance(networks, np.ndarray) else next((o for o in networks if not isinstance(o, Chain)), None)
    if isinstance(networks, np.ndarray) or other is not None:
        found = "rows of numbers" if isinstance(networks, np.ndarray) else type(other).__name__
        raise UserError(
            f"this predictor reads weights (dnal.predictors.Chain, from a zoo or from dnal.predictors.chain_of), not "
            f"{found}."
        )


def permuted(network: Chain, rng: np.random.Generator) -> Chain:
    """The same function with its hidden neurons, or channels, in another order.

    Rows and biases of each layer but the last are permuted, and what the next layer reads of them alike; inputs and
    outputs stay where they are.

    Examples:
        >>> layers = [Layer(np.eye(3), np.arange(3.0), (("relu",),)), Layer(np.array([[1.0, 2.0, 3.0]]), np.zeros(1))]
        >>> other = permuted(Chain((3,), tuple(layers)), np.random.default_rng(0))
        >>> sorted(zip(other.layers[0].bias.tolist(), other.layers[1].weight[0].tolist()))
        [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    """
    layers = list(network.layers)
    for place in range(len(layers) - 1):
        order = rng.permutation(len(layers[place].bias))
        own, after = layers[place], layers[place + 1]
        layers[place] = replace(own, weight=own.weight[order], bias=own.bias[order])
        columns = network.kernel(place + 1)[:, order].reshape(after.weight.shape)
        layers[place + 1] = replace(after, weight=columns)
    return _same_sizes(network, layers)


def scaled(network: Chain, weight: float, bias: float) -> Chain:
    """With every weight times the root of what its neuron reads, divided by ``weight``, and every bias by ``bias``.

    So a weight is about as large in a wide layer as in a narrow one.
    """
    layers = [
        replace(
            layer,
            weight=layer.weight * np.float32(np.sqrt(layer.weight[0].size) / weight),
            bias=layer.bias / np.float32(bias),
        )
        for layer in network.layers
    ]  # fmt: skip
    return _same_sizes(network, layers)


def said(network: Chain, x: Tensor) -> list[Tensor]:
    """What each layer says, after the steps that follow it: the last one is the answer of the network.

    Args:
        x: (N, *inputs).

    Returns:
        (N, out) or (N, out, height, width) each.
    """
    found = []
    for layer in network.layers:
        weight, bias = (torch.from_numpy(own).to(x) for own in (layer.weight, layer.bias))
        if layer.convolves:
            x = F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation)
        else:
            x = F.linear(x.flatten(1), weight, bias)
        for step in layer.steps:
            x = _stepped(x, step)
        found.append(x)
    return found


def _stepped(x: Tensor, step: Step) -> Tensor:
    name = str(step[0])
    if name in ACTIVATIONS:
        of_x: Tensor = getattr(F, name)(x) if name != "tanh" else x.tanh()
        return of_x
    if name == MEAN:
        return x.mean((2, 3))
    kernel, stride, padding = ((int(step[at]), int(step[at + 1])) for at in (1, 3, 5))
    if name == "max_pool":
        return F.max_pool2d(x, kernel, stride, padding)
    return F.avg_pool2d(x, kernel, stride, padding)


def _numbers(values: Any) -> Array:
    found = np.asarray(values)
    if found.dtype.kind not in "fiu":
        raise UserError(f"weights are numbers, not {found.dtype}.")
    return np.ascontiguousarray(found, dtype=np.float32)


def _same_sizes(network: Chain, layers: Sequence[Layer]) -> Chain:
    """Of checked layers: without checking them again, which a training does many thousand times."""
    found = object.__new__(Chain)
    object.__setattr__(found, "inputs", network.inputs)
    object.__setattr__(found, "layers", tuple(layers))
    return found
