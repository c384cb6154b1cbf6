"""A list of layers as a row of numbers, which predictors read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dnal.models.genomes.genome import Genome
from dnal.search.spaces.space import END, START, NetworkSpace


def kinds_of(space: NetworkSpace) -> list[str]:
    """The kinds of layers of a space, in the order in which they can be reached.

    Examples:
        >>> from dnal.search.spaces.layers import Layers
        >>> kinds_of(Layers())
        ['conv', 'max', 'avg', 'fc']
    """
    found = [START]
    for kind in found:  # grows on the way
        found += [one for one in space.transitions(kind) if one != END and one not in found]
    return found[1:]


def numbers_of(
    space: NetworkSpace, genomes: Sequence[Genome], costs: Sequence[Mapping[str, float]]
) -> NDArray[np.float64]:
    """Networks as rows of numbers, (N, F).

    For each kind of layer: how many there are, the mean and the maximum of each of their integer values, and how many
    have each word. Then log(1 + c) of each cost c.

    Args:
        space: of the networks. genomes: N lists of layers. costs: of each network by name, the same names for all.

    Examples:
        >>> from dnal.models.genomes.genome import Layer
        >>> from dnal.search.spaces.layers import Layers
        >>> genome = (Layer("conv", (8, 3)), Layer("conv", (16, 5)), Layer("fc", (32,)))
        >>> numbers_of(Layers(), [genome], [{}]).tolist()
        [[2.0, 12.0, 16.0, 4.0, 5.0, 0.0, 0.0, 1.0, 32.0, 32.0]]
    """
    kinds = kinds_of(space)
    return np.array(
        [
            [*_features(space, kinds, genome), *np.log1p([*own.values()])]
            for genome, own in zip(genomes, costs, strict=True)
        ]
    )


def _features(space: NetworkSpace, kinds: Sequence[str], genome: Genome) -> list[float]:
    """The row of one network, without its costs."""
    found: list[float] = []
    for kind in kinds:
        layers = [layer for layer in genome if layer.kind == kind]
        found.append(float(len(layers)))
        for place, options in enumerate(space.values(kind).values()):
            own = [layer.values[place] for layer in layers]
            numbers = [value for value in own if isinstance(value, int)]
            if any(isinstance(option, int) for option in options):
                found += [float(np.mean(numbers)), float(max(numbers))] if numbers else [0.0, 0.0]
            found += [float(own.count(option)) for option in options if isinstance(option, str)]
    return found
