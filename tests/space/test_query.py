"""Asking a space about a parameter, and saying what may vary by name."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

import dnal
from dnal.space.explain import Explanation, Part
from independent import assert_exact, coin_flips, randomise
from networks import Net, conv, image, tied


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return randomise(torchvision.models.resnet18()).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 64, 64)


@pytest.fixture(scope="module")
def space(resnet: nn.Module, images: Tensor) -> dnal.Space:
    return dnal.Space.of(resnet, images)


def only_part(explanation: Explanation, dim: int) -> Part:
    (part,) = explanation.dimensions[dim].parts
    assert explanation.dimensions[dim].fixed == 0
    return part


def varying(space: dnal.Space) -> set[tuple[str, int]]:
    """The parameter dimensions that may lose entries."""
    return {(name, dim) for name, dims in space.sources.items() for dim, ids in enumerate(dims) if ids is not None}


# explain


def test_explain_names_who_makes_reads_and_carries_the_channels(space: dnal.Space) -> None:
    stem = only_part(space.explain("conv1.weight"), 0)
    # the stream of layer1: the stem and the second convolution of both blocks are summed
    assert set(stem.written_by) == {("conv1.weight", 0), ("layer1.0.conv2.weight", 0), ("layer1.1.conv2.weight", 0)}
    assert set(stem.read_by) == {
        (f"{name}.weight", 1)
        for name in ("layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.0.downsample.0")
    }
    norms = ("bn1", "layer1.0.bn2", "layer1.1.bn2")
    assert set(stem.moves_with) == {(f"{norm}.{what}", 0) for norm in norms for what in ("weight", "bias")}
    assert (stem.width, stem.entries) == (64, 64)


def test_every_dimension_is_accounted_for(space: dnal.Space, resnet: nn.Module) -> None:
    for name, tensor in [*resnet.named_parameters(), *resnet.named_buffers()]:
        explanation = space.explain(name)
        assert explanation.shape == tuple(tensor.shape)
        for dimension, size in zip(explanation.dimensions, tensor.shape, strict=True):
            assert dimension.size == size == dimension.fixed + sum(part.entries for part in dimension.parts)
            assert bool(dimension.reasons) == bool(dimension.fixed)
            for part in dimension.parts:
                assert part.written_by
                assert not set(part.written_by) & set(part.read_by)


def test_norms_and_statistics_belong_to_the_group_they_scale(space: dnal.Space) -> None:
    one, other = (only_part(space.explain(f"layer2.0.{name}"), 0) for name in ("conv1.weight", "bn1.running_var"))
    assert one == other
    assert one.written_by == (("layer2.0.conv1.weight", 0),)


def test_what_is_fixed_is_said_with_its_reason(space: dnal.Space) -> None:
    assert space.explain("fc.bias").dimensions[0].reasons == ("it is the network's output",)
    stem = space.explain("conv1.weight").dimensions
    assert stem[1].reasons == ("it reads the network's input",)
    assert not stem[2].parts


def test_concatenated_channels_are_told_apart() -> None:
    def compute(n: Net, x: Tensor) -> Tensor:
        return n.last(torch.cat((n.a(x), n.b(x), x), 1))

    network = Net(compute, a=conv(3, 5), b=conv(3, 7), last=conv(15, 4))
    read = dnal.Space.of(network, image()).explain("last.weight").dimensions[1]
    assert [(part.entries, part.written_by) for part in read.parts] == [
        (5, (("a.weight", 0),)),
        (7, (("b.weight", 0),)),
    ]
    assert read.fixed == 3
    assert read.reasons


def test_a_depthwise_convolution_makes_what_it_filters() -> None:
    network = nn.Sequential(conv(3, 8), conv(8, 8, groups=8), conv(8, 4))
    assert only_part(dnal.Space.of(network, image()).explain("1.weight"), 0).written_by == (
        ("0.weight", 0),
        ("1.weight", 0),
    )


def test_what_a_weight_is_computed_from_is_said_to_become_plain() -> None:
    class Scaled(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(6, 8, 3)
            self.gain = nn.Parameter(torch.full((8, 1, 1, 1), 0.7))

        def forward(self, x: Tensor) -> Tensor:
            weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) * self.gain
            return nn.functional.conv2d(x, weight, self.bias)

    torch.manual_seed(0)
    space = dnal.Space.of(nn.Sequential(conv(3, 6), Scaled(), conv(8, 4)), image())
    assert only_part(space.explain("1.weight"), 0).width == 8
    gain = space.explain("1.gain").dimensions
    assert [dimension.fixed for dimension in gain] == [8, 1, 1, 1]
    assert "plain" in gain[0].reasons[0]


def test_the_text_says_it_all(space: dnal.Space) -> None:
    explanation = space.explain("layer1.0.conv1.weight")
    text = str(explanation)
    assert text.startswith("layer1.0.conv1.weight: 64 x 64 x 3 x 3\n")
    for dim in (0, 1):
        part = only_part(explanation, dim)
        for name, other in (*part.written_by, *part.read_by):
            assert f"{name}[{other}]" in text
    assert "it is the network's output" in str(space.explain("fc.weight"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("layr1.0.conv1.weight", "did you mean 'layer1.0.conv1.weight'?"),
        ("layer1.0.conv1", "'layer1.0.conv1.weight'"),
        ("", "dnal space"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(space: dnal.Space, name: str, hint: str) -> None:
    with pytest.raises(dnal.UserError, match=f"'{name}'") as told:
        space.explain(name)
    assert hint in str(told.value)


# include and exclude


def test_excluded_layers_keep_every_channel_they_make(resnet: nn.Module, images: Tensor) -> None:
    space = dnal.Space.of(resnet, images, exclude=["layer4", "*.0.conv1"])
    may_vary = varying(space)
    for name, _ in resnet.named_parameters():
        if name.startswith("layer4.") or name.endswith(".0.conv1.weight"):
            assert (name, 0) not in may_vary
    assert ("layer4.0.conv1.weight", 1) in may_vary  # reads layer3's stream, which may vary
    assert ("layer3.1.conv1.weight", 0) in may_vary
    assert space.explain("layer4.1.conv1.weight").dimensions[0].reasons == ("excluded by 'layer4'",)
    assert space.explain("layer2.0.conv1.weight").dimensions[0].reasons == ("excluded by '*.0.conv1'",)
    assert_exact(resnet, images, space, coin_flips(space, seed=1))


def test_one_excluded_maker_keeps_the_whole_stream(resnet: nn.Module, images: Tensor, space: dnal.Space) -> None:
    without = dnal.Space.of(resnet, images, exclude="layer1.1.conv2")
    assert space.num_variables - without.num_variables == 64
    assert ("conv1.weight", 0) not in varying(without)


def test_included_layers_alone_may_vary(resnet: nn.Module, images: Tensor) -> None:
    space = dnal.Space.of(resnet, images, include="*.conv1")
    # the first convolutions of the eight blocks; the streams also have other makers
    assert space.num_variables == 2 * (64 + 128 + 256 + 512)
    assert {p for group in space.groups for p, d in space.writers if (p, d) in group.places} == {
        f"layer{i}.{j}.conv1.weight" for i in (1, 2, 3, 4) for j in (0, 1)
    }
    assert space.explain("layer1.0.conv2.weight").dimensions[0].reasons == ("not included",)
    assert_exact(resnet, images, space, coin_flips(space, seed=2))


def test_exclude_takes_away_from_include(resnet: nn.Module, images: Tensor) -> None:
    space = dnal.Space.of(resnet, images, include=["layer3", "layer4"], exclude=["layer4.1"])
    # both conv1 and the stream of layer3, the first block of layer4; layer4.1 makes the stream of layer4
    assert space.num_variables == 3 * 256 + 512
    assert_exact(resnet, images, space, coin_flips(space, seed=3))


def test_everything_included_is_the_whole_space(resnet: nn.Module, images: Tensor, space: dnal.Space) -> None:
    assert dnal.Space.of(resnet, images, include="*").names == space.names


def test_a_network_may_be_excluded_as_a_whole(resnet: nn.Module, images: Tensor) -> None:
    space = dnal.Space.of(resnet, images, exclude="*")
    assert space.num_variables == 0
    assert space.removable_share == 0


def test_a_norm_can_be_excluded_by_its_own_name(resnet: nn.Module, images: Tensor, space: dnal.Space) -> None:
    without = dnal.Space.of(resnet, images, exclude="layer3.1.bn1")
    assert varying(space) - varying(without) == {
        ("layer3.1.conv1.weight", 0),
        ("layer3.1.bn1.weight", 0),
        ("layer3.1.bn1.bias", 0),
        ("layer3.1.conv2.weight", 1),
    }


def test_excluding_a_block_leaves_the_channels_that_it_only_normalises() -> None:
    # pre-activation: the second block's norm scales what the first block made
    first = nn.Sequential(conv(3, 8), nn.ReLU())
    second = nn.Sequential(nn.BatchNorm2d(8), conv(8, 6), nn.ReLU())
    network = nn.Sequential(first, second, conv(6, 4))
    assert dnal.Space.of(network, image(), exclude="1").num_variables == 8


def test_a_tied_weight_is_known_by_both_names() -> None:
    network = tied()  # 0 -> 1 -> ReLU -> 3 (the same weight) -> ReLU -> last
    whole = dnal.Space.of(network, image())
    assert whole.num_variables
    for pattern in ("1", "3"):
        assert dnal.Space.of(network, image(), exclude=pattern).num_variables < whole.num_variables
        with pytest.raises(dnal.UserError):
            dnal.Space.of(network, image(), exclude=f"{pattern}.wieght")


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_that_names_nothing_is_refused(resnet: nn.Module, images: Tensor, option: str) -> None:
    with pytest.raises(dnal.UserError, match=rf"{option} pattern 'laier4'.*did you mean 'layer4'\?"):
        dnal.Space.of(resnet, images, **{option: ["layer1", "laier4"]})
