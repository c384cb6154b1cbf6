"""Families of networks by their layers: the prefix of their names, how they are written and built."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from dnal.base.errors import UserError
from dnal.data.kind import Sizes
from dnal.models.genomes import binary_mobilenet, layered_graph, layers, neurons
from dnal.models.genomes.genome import Form, Genome, parsed

INPUT: Sizes = (3, 32, 32)
CLASSES = 10
MOST_NUMBERS = 2**31
"""Weights of a layer: a text of a few characters may ask for more than any machine has."""


@dataclass(frozen=True)
class Family:
    """A family: the kinds of its layers, what builds a network of them, and the kind of data that it is for, with the
    sizes of an example by default."""

    forms: Mapping[str, Form]
    build: Callable[..., nn.Module]
    example: str
    kind: str = "images"
    input: Sizes = INPUT

    def parse(self, text: str) -> Genome:
        """The layers of a text.

        Raises:
            UserError: as :func:`dnal.models.genomes.genome.parsed`.
        """
        return parsed(text, self.forms)


FAMILIES: dict[str, Family] = {
    "layers": Family(layers.FORMS, layers.build, "conv_16_3-max-conv_32_3-max-fc_64"),
    "layered-graph": Family(
        layered_graph.FORMS, layered_graph.build, "conv_16_3_relu-bn-pool_max_2_2-flat-dense_64_relu-fdrop_30"
    ),
    "binary-mobilenet": Family(
        binary_mobilenet.FORMS, binary_mobilenet.build, "stem_16-down_4-block_8-down_8-block_16"
    ),
    "neurons": Family(neurons.FORMS, neurons.build, "h_2_3_0-h_0_4_1", "tables", (13,)),
}
EXAMPLES = tuple(f"{name}/{family.example}" for name, family in FAMILIES.items())


def is_genome(name: str) -> bool:
    """Whether a name says the layers of a network."""
    prefix, slash, _ = name.partition("/")
    return bool(slash) and prefix in FAMILIES


def family_of(name: str) -> Family:
    """The family of such a name."""
    return FAMILIES[name.partition("/")[0]]


def built(name: str, *, classes: int | None = None, input_shape: Sizes | None = None) -> nn.Module:
    """The network of such a name: images (N, C, H, W), or rows of a table (N, features) -> (N, classes).

    Raises:
        UserError: a text that is no network of the family.

    Examples:
        >>> [type(layer).__name__ for layer in built("layers/conv_4_3-max", input_shape=(1, 8, 8))]
        ['Conv2d', 'BatchNorm2d', 'ReLU', 'MaxPool2d', 'Flatten', 'Linear']
    """
    prefix, _, text = name.partition("/")
    family = FAMILIES[prefix]
    genome = family.parse(text)
    sizes = (input_shape or family.input)[:3]
    if genome and most_weights(genome, classes or CLASSES, sizes) > MOST_NUMBERS:
        raise UserError(
            f"'{prefix}/{text[:40]}...' has a layer of more than {MOST_NUMBERS:,} weights; make it smaller."
        )
    return family.build(genome, classes=classes or CLASSES, input_shape=sizes)


def most_weights(genome: Genome, classes: int, sizes: Sizes) -> int:
    """No layer of a network has more weights than this, told without building any."""
    width, most = sizes[0], 0
    sides, flat = sizes[1:], False
    for kind, values in genome:
        if kind == "conv":
            most, width = max(most, width * int(values[0]) * int(values[1]) ** 2), int(values[0])
        elif kind in ("max", "avg", "pool"):
            stride = int(values[2]) if kind == "pool" else 2
            sides = tuple(-(-side // stride) for side in sides)  # no pooling leaves more
        elif kind == "stem":
            most, width, flat = max(most, width * int(values[0]) * 9), int(values[0]), True  # the head is pooled
        elif kind in ("block", "down"):
            wider = width * (1 + (kind == "down"))
            most, width = max(most, width * width * 9 // int(values[0]), width * wider), wider
        elif kind == "h":
            units = sum(map(int, values))
            most, width = max(most, width * units), units
        elif kind in ("fc", "dense"):
            most, width, flat = (
                max(most, width * (1 if flat else math.prod(sides)) * int(values[0])),
                int(values[0]),
                True,
            )
    return max(most, width * (1 if flat else math.prod(sides)) * classes)
