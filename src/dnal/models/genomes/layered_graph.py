"""``layered-graph/``: a path through DeepSwarm's layered graph of node types.

Source: E. Byla and W. Pang, DeepSwarm, arXiv 1905.07350, and its published code and settings.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from dnal.base.errors import UserError
from dnal.data.kind import Sizes
from dnal.models.genomes.genome import Form, Genome
from dnal.models.genomes.layers import WIDEST, padded
from dnal.models.kaiming import kaiming_init

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU, "elu": nn.ELU, "leaky": nn.LeakyReLU, "sigmoid": nn.Sigmoid,
}  # fmt: skip
FORMS: dict[str, Form] = {
    "conv": {"filters": range(1, WIDEST + 1), "kernel": range(1, 16), "activation": tuple(ACTIVATIONS)},
    "drop": {"percent": range(1, 100)},
    "bn": {},
    "pool": {"type": ("max", "average"), "size": range(1, 9), "stride": range(1, 9)},
    "flat": {},
    "dense": {"units": range(1, WIDEST + 1), "activation": tuple(ACTIVATIONS)},
    "fdrop": {"percent": range(1, 100)},
    "fbn": {},
}
"""Kinds of layers; behind ``flat`` there are ``dense``, ``fdrop`` (dropout) and ``fbn`` (batch norm)."""
SPATIAL = ("conv", "drop", "bn", "pool")


def build(genome: Genome, *, classes: int, input_shape: Sizes) -> nn.Module:
    """The network, its weights as :func:`dnal.models.kaiming.kaiming_init` draws them. A pooling is padded at its end,
    so that no image vanishes.

    Raises:
        UserError: layers in an order that is no network.
    """
    check_order(genome)
    channels, height, width = input_shape
    features = 0
    made: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (kind, values) in enumerate(genome, 1):
        if kind == "conv":
            wider, kernel = int(values[0]), int(values[1])
            made |= padded(number, kernel)
            made[f"conv{number}"] = nn.Conv2d(channels, wider, kernel, padding=(kernel - 1) // 2)
            made[f"act{number}"] = ACTIVATIONS[str(values[2])]()
            channels = wider
        elif kind == "pool":
            size, stride = int(values[1]), int(values[2])
            pool = nn.MaxPool2d if values[0] == "max" else nn.AvgPool2d
            # torch refuses a window that is larger than the image; cut to it, it sees the same pixels.
            made[f"pool{number}"] = pool((min(size, height), min(size, width)), stride, ceil_mode=True)
            height, width = pooled(height, size, stride), pooled(width, size, stride)
        elif kind == "flat":
            made["flat"] = nn.Flatten()
            features = channels * height * width
        elif kind == "dense":
            units = int(values[0])
            made[f"dense{number}"] = nn.Linear(features, units)
            made[f"act{number}"] = ACTIVATIONS[str(values[1])]()
            features = units
        elif kind in ("drop", "fdrop"):
            made[f"drop{number}"] = nn.Dropout(float(values[0]) / 100)
        else:
            made[f"norm{number}"] = nn.BatchNorm2d(channels) if kind == "bn" else nn.BatchNorm1d(features)
    made["head"] = nn.Linear(features, classes)
    network = nn.Sequential(made)
    kaiming_init(network)
    return network


def pooled(side: int, size: int, stride: int) -> int:
    """The side of an image after a pooling that rounds up.

    Examples:
        >>> pooled(8, 2, 2), pooled(8, 2, 3), pooled(7, 2, 2), pooled(1, 2, 2)
        (4, 3, 4, 1)
    """
    out = -(-max(side - size, 0) // stride) + 1
    return out - 1 if (out - 1) * stride >= side else out


def check_order(genome: Genome) -> None:
    """Refuses what is no network.

    Raises:
        UserError: saying so.
    """
    kinds = [layer.kind for layer in genome]
    if not kinds or kinds[0] != "conv" or kinds.count("flat") != 1:
        raise UserError(
            "a path through the layered graph begins with 'conv' and has one 'flat', such as "
            "'layered-graph/conv_16_3_relu-pool_max_2_2-flat-dense_64_relu'."
        )
    flat = kinds.index("flat")
    for kind in kinds[:flat]:
        if kind not in SPATIAL:
            raise UserError(f"'{kind}' stands before 'flat', where there are images.")
    for kind in kinds[flat + 1 :]:
        if kind in SPATIAL:
            raise UserError(f"'{kind}' stands behind 'flat', where there is no image any more.")
