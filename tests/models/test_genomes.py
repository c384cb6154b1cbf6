"""Networks by their layers: what a name says is what is built, whoever wrote it."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

import dnal
from dnal import models
from dnal.base.errors import UserError
from dnal.models.binary.blocks import BinaryResidual, Doubled, GroupBlock
from dnal.models.binary.convolution import BinaryConv2d
from dnal.models.genomes.families import EXAMPLES, FAMILIES, most_weights
from dnal.models.genomes.genome import text_of
from dnal.models.genomes.layered_graph import pooled
from dnal.search.spaces import SPACES
from dnal.search.spaces.space import Chance


@pytest.mark.parametrize("space", SPACES.names())
@pytest.mark.parametrize("sizes", [(1, 8, 8), (3, 17, 13), (2, 1, 1)])
def test_every_network_that_is_drawn_builds_runs_and_is_read_from_its_name(
    space: str, sizes: tuple[int, int, int]
) -> None:
    draw, chosen = random.Random(0), SPACES.read(space)
    for _ in range(12):
        genome = chosen.drawn(Chance(draw), sizes)
        name = chosen.model(genome)
        assert FAMILIES[space].parse(text_of(genome)) == genome
        network = models.create(name, classes=7, input_shape=sizes).eval()
        assert network(torch.rand(2, *sizes)).shape == (2, 7)
        assert {type(module) for module in network.modules()} <= {
            nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU, nn.Sigmoid, nn.MaxPool2d, nn.AvgPool2d,
            nn.Flatten, nn.Linear, nn.Dropout, nn.ZeroPad2d, nn.AdaptiveAvgPool2d,
            BinaryConv2d, BinaryResidual, Doubled, GroupBlock,
        }  # fmt: skip


def test_the_layers_of_a_name_are_those_of_the_network() -> None:
    network = models.create("layers/drop_50-conv_6_4-max-conv_5_3-avg-fc_9", classes=3, input_shape=(2, 8, 8))
    shapes = {name: tuple(weight.shape) for name, weight in network.named_parameters() if weight.dim() > 1}
    assert list(shapes.values()) == [(6, 2, 4, 4), (5, 6, 3, 3), (9, 5 * 2 * 2), (3, 9)]
    drops = [name for name, module in network.named_modules() if isinstance(module, nn.Dropout)]
    assert len(drops) == 3  # before every layer with weights, but not before the first
    graph = models.create(
        "layered-graph/conv_6_1_elu-bn-pool_average_2_3-drop_10-flat-dense_9_sigmoid-fbn-fdrop_30",
        classes=3, input_shape=(2, 8, 8),
    )  # fmt: skip
    assert [type(module) for module in graph] == [
        nn.Conv2d, nn.ELU, nn.BatchNorm2d, nn.AvgPool2d, nn.Dropout, nn.Flatten, nn.Linear, nn.Sigmoid, nn.BatchNorm1d,
        nn.Dropout, nn.Linear,
    ]  # fmt: skip
    assert graph[6].in_features == 6 * 3 * 3


def test_no_family_is_called_like_the_beginning_of_another_name() -> None:
    assert not [name for name in models.own_names() if models.is_genome(name)]


def test_a_convolution_of_even_width_keeps_the_image() -> None:
    for kernel in range(1, 8):
        network = models.create(f"layers/conv_3_{kernel}", classes=2, input_shape=(1, 5, 9))
        assert network[:-2](torch.rand(1, 1, 5, 9)).shape == (1, 3, 5, 9)


def test_the_side_of_an_image_after_a_pooling_is_what_torch_makes_of_it() -> None:
    for side in range(1, 12):
        for size in range(1, 5):
            for stride in range(size, 5):
                found = nn.MaxPool2d(size, stride, ceil_mode=True)(torch.rand(1, 1, side, side)).shape[-1]
                assert pooled(side, size, stride) == found, (side, size, stride)


def test_a_pooling_that_is_wider_than_its_image_takes_all_of_it() -> None:
    image = torch.rand(2, 1, 3, 5)
    for kind, whole in (("max", image.amax((2, 3))), ("average", image.mean((2, 3)))):
        network = models.create(
            f"layered-graph/conv_1_1_relu-pool_{kind}_8_1-flat", classes=2, input_shape=(1, 3, 5)
        ).eval()
        assert network(image).shape == (2, 2)
        pool = next(module for module in network if isinstance(module, nn.MaxPool2d | nn.AvgPool2d))
        assert torch.allclose(pool(image).flatten(1), whole)


@pytest.mark.parametrize("space", SPACES.names())
def test_no_layer_has_more_weights_than_is_told_before_it_is_built(space: str) -> None:
    draw, chosen = random.Random(1), SPACES.read(space)
    for sizes in ((1, 33, 9), (3, 8, 8)):
        for _ in range(12):
            genome = chosen.drawn(Chance(draw), sizes)
            network = models.outline(chosen.model(genome), classes=7, input_shape=sizes)
            largest = max(weight.numel() for weight in network.parameters() if weight.dim() > 1)
            assert largest <= most_weights(genome, 7, sizes) <= 4 * largest
    assert most_weights(FAMILIES["layers"].parse("conv_1_1-max"), 10, (1, 5, 5)) == 3 * 3 * 10


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("layers/", "there is no layer ''"),
        ("layers/cnv_3_3", "did you mean 'conv'?"),
        ("layers/conv_3", "CHANNELS: 1 to 4096"),
        ("layers/conv_03_3", "is no layer"),
        ("layers/conv_99999_3", "is no layer"),
        ("layers/conv_٣_3", "is no layer"),
        ("layers/max-conv_3_3", "begins with a convolution"),
        ("layers/conv_3_3-drop_50", "is said once and first"),
        ("layers/conv_3_3-fc_5-max", "'max' stands behind a fully connected layer"),
        ("layers/conv_3_3-fc_5-fc_5-avg", "'avg' stands behind a fully connected layer"),
        ("layers/" + "-".join(["conv_3_3"] * 200), "at most 128"),
        ("layered-graph/conv_3_3_relu", "has one 'flat'"),
        ("layered-graph/conv_3_3_tanh-flat", "ACTIVATION: relu, elu, leaky, sigmoid"),
        ("layered-graph/conv_3_3_relu-dense_3_relu-flat", "stands before 'flat'"),
        ("layered-graph/conv_3_3_relu-flat-bn", "stands behind 'flat'"),
    ],
)
def test_a_name_that_is_no_network_is_a_sentence(name: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        models.create(name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_few_characters_take_no_memory() -> None:
    wide = "layers/" + "-".join(["conv_4096_15"] * 3)
    with pytest.raises(UserError, match="make it smaller"):
        models.create(wide)
    outline = models.outline("layers/" + "-".join(["conv_4096_9"] * 30), classes=10, input_shape=(3, 32, 32))
    assert all(parameter.is_meta for parameter in outline.parameters() if parameter.dim() > 1)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if models.kind_of(name) == "images"])
def test_such_a_network_is_like_any_other(name: str) -> None:
    """Of images, without trained weights, with channels that may leave exactly; those of bits all stay."""
    assert models.kind_of(name) == "images"
    assert not models.names_code(name)
    with pytest.raises(UserError, match="no pretrained weights"):
        models.create(name, pretrained=True)
    torch.manual_seed(0)
    network = models.create(name, classes=4, input_shape=(1, 12, 12)).eval()
    space = dnal.Space.of(network, torch.rand(2, 1, 12, 12))
    architecture = dnal.Architecture.random(space, 0.5)
    images = torch.rand(3, 1, 12, 12)
    with torch.no_grad():
        compact = dnal.compact(network, architecture)
        assert torch.allclose(compact(images), dnal.gated(network, architecture)(images), atol=1e-5)
    assert (space.num_variables > 20) == SPACES.read(name.partition("/")[0]).channels_vary
