"""``layers/``: a list of convolutions, poolings and fully connected layers, as the search space of psoCNN has them.

Source: F. E. Fernandes Junior and G. G. Yen, Swarm and Evolutionary Computation 49 (2019), and their published code.
Theirs has batch norm behind the last layer, no padding where it pools, and a decay of hidden layers' weights: here the
last layer is plain, poolings are padded so that no image vanishes, and decay belongs to training.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from dnal.base.errors import UserError
from dnal.data.kind import Sizes
from dnal.models.genomes.genome import Form, Genome
from dnal.models.kaiming import kaiming_init

WIDEST = 4096
"""Channels or units of a layer in a text, which may be anybody's."""
FORMS: dict[str, Form] = {
    "drop": {"percent": range(1, 100)},
    "conv": {"channels": range(1, WIDEST + 1), "kernel": range(1, 16)},
    "max": {},
    "avg": {},
    "fc": {"units": range(1, WIDEST + 1)},
}
"""``drop``, at the beginning alone: the dropout before every convolution but the first and every fully connected
layer."""
SPATIAL = ("conv", "max", "avg")
"""What images have; fully connected layers come after all of them."""
POOL = 3
"""Width of a pooling, which halves the image."""


def build(genome: Genome, *, classes: int, input_shape: Sizes) -> nn.Module:
    """The network, its weights as :func:`dnal.models.kaiming.kaiming_init` draws them.

    Raises:
        UserError: layers in an order that is no network.
    """
    drop, genome = (genome[0].values[0], genome[1:]) if genome[:1] and genome[0].kind == "drop" else (0, genome)
    check_order(genome)
    share = float(drop) / 100
    channels, height, width = input_shape
    made: OrderedDict[str, nn.Module] = OrderedDict()
    features = 0  # once the image is flat
    for number, (kind, values) in enumerate([*genome, ("head", (classes,))], 1):
        if kind in ("max", "avg"):
            made[f"pool{number}"] = (
                nn.MaxPool2d(POOL, 2, POOL // 2)
                if kind == "max"
                else nn.AvgPool2d(POOL, 2, POOL // 2, count_include_pad=False)
            )
            height, width = (height + 1) // 2, (width + 1) // 2
            continue
        if kind != "conv" and not features:
            made["flat"] = nn.Flatten()
            features = channels * height * width
        if share and number > 1:
            made[f"drop{number}"] = nn.Dropout(share)
        if kind == "conv":
            wider, kernel = map(int, values)
            made |= padded(number, kernel)
            made[f"conv{number}"] = nn.Conv2d(channels, wider, kernel, padding=(kernel - 1) // 2, bias=False)
            made[f"norm{number}"] = nn.BatchNorm2d(wider)
            made[f"relu{number}"] = nn.ReLU()
            channels = wider
        elif kind == "fc":
            units = int(values[0])
            made[f"fc{number}"] = nn.Linear(features, units, bias=False)
            made[f"norm{number}"] = nn.BatchNorm1d(units)
            made[f"relu{number}"] = nn.ReLU()
            features = units
        else:
            made["head"] = nn.Linear(features, classes)
    network = nn.Sequential(made)
    kaiming_init(network)
    return network


def padded(number: int, kernel: int) -> dict[str, nn.Module]:
    """What makes room for the last column and row of a kernel of even width, whose image then keeps its size too."""
    return {} if kernel % 2 else {f"pad{number}": nn.ZeroPad2d((0, 1, 0, 1))}


def check_order(genome: Genome) -> None:
    """Refuses what is no network: nothing, another first layer than a convolution, a spatial layer behind a fully
    connected one, or a dropout that is not the first word.

    Raises:
        UserError: saying so.
    """
    kinds = [layer.kind for layer in genome]
    if not kinds or kinds[0] != "conv":
        raise UserError("a network by its layers begins with a convolution, such as 'layers/conv_16_3-max-fc_32'.")
    if "drop" in kinds:
        raise UserError("'drop' is said once and first: it is the dropout of the whole network.")
    flat = kinds.index("fc") if "fc" in kinds else len(kinds)
    behind = next((kind for kind in kinds[flat:] if kind in SPATIAL), None)
    if behind is not None:
        raise UserError(f"'{behind}' stands behind a fully connected layer, where there is no image any more.")
