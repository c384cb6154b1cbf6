"""``binary-mobilenet/``: binary MobileNets, each of whose blocks has its own number of groups.

Source: Phan et al., Binarizing MobileNet via evolution-based searching, CVPR 2020, arXiv 2005.06305. Its blocks are
recalled, and no code is published: see :class:`dnal.models.binary.blocks.GroupBlock` for what is ours.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from dnal.base.errors import UserError
from dnal.data.kind import Sizes
from dnal.models.binary.blocks import GroupBlock
from dnal.models.genomes.genome import Form, Genome
from dnal.models.genomes.layers import WIDEST
from dnal.models.kaiming import kaiming_init

_GROUPS: Form = {"groups": range(1, WIDEST + 1)}
FORMS: dict[str, Form] = {"stem": {"channels": range(1, WIDEST + 1)}, "block": _GROUPS, "down": _GROUPS}
"""``stem`` is a full-precision 3x3 convolution; ``block`` a binary block, ``down`` one that halves the image and
doubles the channels."""


def build(genome: Genome, *, classes: int, input_shape: Sizes) -> nn.Module:
    """The network: a full-precision stem, binary blocks, average pooling, and a full-precision linear layer.

    Raises:
        UserError: layers in an order that is no network, or groups that do not divide the channels.
    """
    widths = widths_of(genome)
    made: OrderedDict[str, nn.Module] = OrderedDict()
    made["stem"] = nn.Conv2d(input_shape[0], widths[0], 3, padding=1, bias=False)
    made["norm"] = nn.BatchNorm2d(widths[0])
    for number, (layer, width) in enumerate(zip(genome[1:], widths, strict=False), 1):
        made[f"block{number}"] = GroupBlock(width, int(layer.values[0]), down=layer.kind == "down")
    made["pool"] = nn.AdaptiveAvgPool2d(1)
    made["flat"] = nn.Flatten()
    made["head"] = nn.Linear(widths[-1], classes)
    network = nn.Sequential(made)
    kaiming_init(network)
    return network


def widths_of(genome: Genome) -> list[int]:
    """The channels behind the stem and behind each block.

    Raises:
        UserError: as :func:`build`.
    """
    kinds = [layer.kind for layer in genome]
    if kinds[:1] != ["stem"] or kinds.count("stem") != 1:
        raise UserError("a binary MobileNet has one 'stem', first, such as 'binary-mobilenet/stem_16-down_4-block_8'.")
    widths = [int(genome[0].values[0])]
    for layer in genome[1:]:
        if widths[-1] % int(layer.values[0]):
            raise UserError(f"the groups of '{layer}' do not divide the {widths[-1]} channels that come into it.")
        widths.append(widths[-1] * (1 + (layer.kind == "down")))
    return widths
