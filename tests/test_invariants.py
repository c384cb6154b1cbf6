"""What must hold for every network. To add one: one line in NETWORKS.

The reference is always the ORIGINAL network with every parameter slice of a closed variable set to zero by plain
indexing, and torch's own counts; never another path through the package.
"""

import copy
import warnings
from typing import NamedTuple

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import dnal
from independent import (
    assert_exact,
    coin_flips,
    counted_macs,
    difference,
    parameter_count,
    randomise,
    run,
    zero_twin,
)

# One of each family; what the others show beside it is seen with -m slow.
NETWORKS = {  # name: (input pixels, channel variables if known for certain)
    "torchvision/resnet18": (64, 2880),
    "torchvision/mobilenet_v2": (64, 9128),
    "torchvision/mobilenet_v3_small": (64, None),
    "torchvision/googlenet": (64, None),
    "torchvision/squeezenet1_0": (64, None),
    "torchvision/regnet_x_400mf": (64, None),
    "torchvision/shufflenet_v2_x1_0": (64, None),
    "timm/mobilenetv3_small_050": (64, None),
    "timm/ghostnet_100": (64, None),
}
SLOW_NETWORKS = {
    "torchvision/resnet50": (64, 11456),
    "torchvision/efficientnet_b0": (64, None),
    "torchvision/densenet121": (64, 10240),
    "torchvision/resnext50_32x4d": (64, None),
    "torchvision/regnet_y_400mf": (64, None),
    "torchvision/mnasnet0_5": (64, None),
    "timm/resnet18": (64, 2880),
    "timm/efficientnet_lite0": (64, None),
    "timm/seresnet18": (64, None),
    "timm/dla34": (64, None),
    "torchvision/vgg16_bn": (64, 12416),
    "torchvision/inception_v3": (128, None),
    "torchvision/alexnet": (96, 9344),
    "torchvision/wide_resnet50_2": (64, None),
    "torchvision/efficientnet_v2_s": (64, None),
    "timm/dpn68": (64, None),
    "timm/res2net50_14w_8s": (64, None),
    "timm/hrnet_w18_small": (64, None),
    "timm/cspresnet50": (64, None),
    "timm/cspdarknet53": (64, None),
    "timm/rexnet_100": (64, None),
    "timm/resnest14d": (64, None),
    "timm/ecaresnet50t": (64, None),
    "timm/legacy_senet154": (64, None),
    "timm/inception_resnet_v2": (128, None),
    "timm/xception41": (96, None),
    "timm/repvgg_a0": (64, None),
    "timm/mobileone_s0": (64, None),
    "timm/resnetv2_50": (64, None),
    "timm/tf_efficientnetv2_b0": (64, None),
    "timm/repvit_m0_9": (64, None),
    "timm/hgnet_tiny": (64, None),
    "timm/fbnetc_100": (64, None),
    "timm/mobilenetv4_conv_small": (64, None),
    "timm/mixnet_s": (64, None),
    "timm/skresnet18": (64, None),
    "timm/fasternet_t0": (64, None),
    "timm/poolformer_s12": (64, None),
    "timm/mobilevit_xxs": (128, None),
    "timm/efficientvit_b0": (128, None),
    "timm/edgenext_xx_small": (64, None),
    "timm/levit_128s": (224, None),
    "timm/coat_lite_tiny": (224, None),
    "torchvision/convnext_tiny": (64, (3 * 96 + 3 * 192 + 9 * 384 + 3 * 768) * 4),  # a hidden width per block
    "timm/vit_tiny_patch16_224": (224, 12 * (3 + 768)),  # heads and a hidden width per block
    "timm/mixer_s32_224": (224, 8 * (256 + 2048)),  # hidden widths of both mixings
    "torchvision/swin_t": (  # heads and hidden widths of 2, 2, 6 and 2 blocks
        224,
        2 * (3 + 384) + 2 * (6 + 768) + 6 * (12 + 1536) + 2 * (24 + 3072),
    ),
}
ONE_SIZE = {"timm/levit_128s", "timm/coat_lite_tiny", "timm/vit_tiny_patch16_224", "timm/mixer_s32_224"}
"""Networks that take images of one size."""

REPAIRED = {
    "torchvision/swin_t",
    "timm/skresnet18",
    "timm/edgenext_xx_small",
    "timm/coat_lite_tiny",
    "timm/cspresnet50",  # splits its channels at expand_chs // 2
    "timm/cspdarknet53",
}
"""Networks whose code computes sizes from others: some modules become subclasses of their classes."""

BATCH = 2


class Case(NamedTuple):
    name: str
    network: nn.Module
    images: Tensor
    space: dnal.Space
    variables: int | None


def create(name: str) -> nn.Module:
    """A random network; initialisations of many seconds are skipped, torch's own is as good here."""
    torch.manual_seed(0)
    source, model = name.split("/")
    if source == "timm":
        return timm.create_model(model)
    options = {"init_weights": False} if model in ("vgg16_bn", "googlenet", "inception_v3") else {}
    if model in ("googlenet", "inception_v3"):
        options["aux_logits"] = False  # heads want larger images; they have tests of their own
    return torchvision.models.get_model(model, weights=None, **options)


@pytest.fixture(
    scope="module",
    params=[*NETWORKS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_NETWORKS)],
)
def case(request: pytest.FixtureRequest) -> Case:
    pixels, variables = (NETWORKS | SLOW_NETWORKS)[request.param]
    network = randomise(create(request.param)).eval()
    images = torch.randn(BATCH, 3, pixels, pixels)
    return Case(request.param, network, images, dnal.Space.of(network, images), variables)


def test_space_finds_the_channels(case: Case) -> None:
    if case.variables is not None:  # over-coupling shows nowhere else
        assert case.space.num_variables == case.variables
    assert case.space.removable_share >= 0.85
    assert case.space.full_cost["params"] == parameter_count(case.network)


def test_vgg16_bn_has_a_variable_per_channel() -> None:
    """Its 138 million parameters make the rest slow; its labels need one pass."""
    network = create("torchvision/vgg16_bn")
    assert dnal.Space.of(network, torch.zeros(1, 3, 32, 32), probe=False).num_variables == 12416


def test_compact_and_gated_equal_the_zeroed_original(case: Case) -> None:
    architecture = dnal.Architecture.random(case.space, 0.5, seed=1)
    small = assert_exact(case.network, case.images, case.space, architecture)
    zeroed = zero_twin(case.network, case.space, architecture.open)

    side = case.images.size(-1) + 32 * (case.name not in ONE_SIZE)
    larger = torch.randn(3, 3, side, side)
    assert difference(run(zeroed, larger), run(small, larger)) <= 1e-4

    other = dnal.Architecture.random(case.space, 0.5, seed=2)
    assert difference(run(zeroed, case.images), run(dnal.gated(case.network, other), case.images)) > 1e-2


def test_groups_keep_any_share_of_their_own(case: Case) -> None:
    assert_exact(case.network, case.images, case.space, coin_flips(case.space, seed=3, keep=0.4))


def test_macs_are_those_of_one_example(case: Case) -> None:
    one, three = case.images[:1], torch.cat((case.images, case.images[:1]))
    expected = counted_macs(case.network, one, batch=1)
    assert dnal.macs(case.network, one) == dnal.macs(case.network, three) == expected
    assert case.space.full_cost["macs"] == expected


def test_the_narrowest_network_trains(case: Case) -> None:
    architecture = dnal.Architecture.random(case.space, 0.01)
    for group in case.space.groups:
        assert int(architecture.open[group.variables].sum()) == max(1, round(0.01 * group.width))
    small = dnal.compact(case.network, architecture).train()
    first(small(case.images)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in small.parameters())


def first(out: object) -> Tensor:
    return out if isinstance(out, Tensor) else out[0]


def with_gradient(network: nn.Module, images: Tensor) -> set[str]:
    network.train()
    first(network(images)).square().sum().backward()
    return {name for name, parameter in network.named_parameters() if parameter.grad is not None}


def test_training_the_copy_trains_all_of_it_and_nothing_else(case: Case) -> None:
    before = {name: tensor.clone() for name, tensor in case.network.state_dict().items()}
    small = dnal.compact(case.network, dnal.Architecture.random(case.space, 0.5, seed=4))
    optimizer = torch.optim.SGD(small.parameters(), lr=0.01)
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert owned == {id(p) for p in small.parameters()}

    live = with_gradient(small, case.images)
    assert live == with_gradient(copy.deepcopy(case.network), case.images)
    for name in live:
        small.get_parameter(name).grad.fill_(1.0)  # some true gradients are too small to move a number
    start = {name: parameter.detach().clone() for name, parameter in small.named_parameters()}
    optimizer.step()
    assert all(not torch.equal(start[name], small.get_parameter(name)) for name in live)

    assert all(p.grad is None for p in case.network.parameters())
    after = case.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_compact_is_an_ordinary_network_of_the_same_classes(case: Case) -> None:
    architecture = dnal.Architecture.random(case.space, 0.5, seed=5)
    small = dnal.compact(case.network, architecture)
    assert all(isinstance(m, type(o)) for m, o in zip(small.modules(), case.network.modules(), strict=True))
    if case.name not in REPAIRED:
        assert [type(m) for m in small.modules()] == [type(m) for m in case.network.modules()]
    own = ["forward" in vars(m) for m in case.network.modules()]  # fasternet chooses its function that way, itself
    assert ["forward" in vars(m) for m in small.modules()] == own
    for module in small.modules():
        if isinstance(module, nn.Conv2d):
            outputs, per_group = module.weight.shape[:2]
            assert (module.out_channels, module.in_channels) == (outputs, per_group * module.groups)
            assert outputs % module.groups == 0
        elif isinstance(module, nn.Linear):
            assert (module.out_features, module.in_features) == module.weight.shape
        elif isinstance(module, nn.BatchNorm2d):
            assert module.num_features == module.running_mean.numel() == module.weight.numel()

    expected = run(small, case.images)
    assert difference(expected, run(copy.deepcopy(small), case.images)) == 0
    blank = copy.deepcopy(case.network)
    with torch.no_grad():
        for parameter in blank.parameters():
            parameter.zero_()
    blank = dnal.compact(blank, architecture)
    blank.load_state_dict(small.state_dict())
    assert difference(expected, run(blank, case.images)) == 0


def test_removing_nothing_is_said(case: Case) -> None:
    with pytest.warns(UserWarning, match="removed nothing"):
        small = dnal.compact(case.network, dnal.Architecture.full(case.space))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dnal.compact(case.network, dnal.Architecture.random(case.space, 0.5))
    assert parameter_count(small) == parameter_count(case.network)
