"""Networks with weights that the tests of predictors share."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dnal.predictors import Chain, Layer


def linear(rng: np.random.Generator, widths: tuple[int, ...], size: float = 1.0, kind: str = "relu") -> Chain:
    """Of linear layers on images (1, 4, 4)."""
    sizes = (16, *widths, 3)
    layers = [
        Layer(rng.normal(0, size / before**0.5, (out, before)), rng.normal(0, 0.1, out), ((kind,),))
        for before, out in pairwise(sizes)
    ]
    return Chain((1, 4, 4), (*layers[:-1], Layer(layers[-1].weight, layers[-1].bias)))


def convolved(rng: np.random.Generator, widths: tuple[int, ...], size: float = 1.0, *, flat: bool = False) -> Chain:
    """Of convolutions on images (1, 4, 4) and a linear layer, which reads means over positions or the flat maps."""
    layers: list[Layer] = []
    for before, out in zip((1, *widths[:-1]), widths, strict=True):
        weight = rng.normal(0, size / (9 * before) ** 0.5, (out, before, 3, 3))
        layers.append(Layer(weight, rng.normal(0, 0.1, out), (("relu",),), padding=(1, 1)))
    last = layers[-1]
    if not flat:
        layers[-1] = Layer(last.weight, last.bias, (("relu",), ("mean",)), padding=(1, 1))
    reads = widths[-1] * (16 if flat else 1)
    return Chain((1, 4, 4), (*layers, Layer(rng.normal(0, size / reads**0.5, (3, reads)), rng.normal(0, 0.1, 3))))


_RNG = np.random.default_rng(0)
SIZES = np.exp(_RNG.uniform(-1, 1, 60))
"""How large the weights of each are: an invented value."""
CHAINS = [
    linear(_RNG, (int(_RNG.integers(4, 7)),), size) if place % 2 else convolved(_RNG, (int(_RNG.integers(2, 5)),), size)
    for place, size in enumerate(SIZES)
]  # fmt: skip
