"""Memory: by hand, and against a count of the live tensors of the compact network."""

from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.torch_version import TorchVersion

import dnal
from dnal.costs.memory import memory_cost, peak_memory
from dnal.models import create
from dnal.space.surgery.inputs import at_batch
from independent import coin_flips, randomise
from networks import EXAMPLES, SIDE, Net, between, conv, image, residual

FLOAT = 4
PIXELS = SIDE**2


OLD_ATTENTION = TorchVersion(torch.__version__) < (2, 15)
"""torch 2.6 keeps a tensor longer than it needs to in an attention that returns its weights; versions between have not
been looked at."""


def assert_counted(
    network: nn.Module, inputs: Any, seeds: tuple[int, ...] = (0, 1), holds_longer: bool = False
) -> None:
    """The cost of architectures is what the tensors of their compact networks take."""
    space = dnal.Space.of(network, inputs)
    architectures = [coin_flips(space, seed) for seed in seeds] if space.num_variables else []
    compact = [(each, dnal.compact(network, each, check=False)) for each in architectures]
    for batch in (1, 4):
        cost, examples = memory_cost(network, space, inputs, batch), at_batch(inputs, batch)
        assert float(cost(torch.ones(space.num_gates))) == peak_memory(network, examples)
        for architecture, small in compact:
            counted = peak_memory(small, examples)
            assert float(cost(architecture.open)) == counted or (
                holds_longer and float(cost(architecture.open)) > counted
            )


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_cost_is_what_the_compact_network_takes(name: str) -> None:
    build, _, inputs = EXAMPLES[name]
    torch.manual_seed(0)
    assert_counted(build().eval(), inputs(), holds_longer=OLD_ATTENTION and "MultiheadAttention" in name)


@pytest.mark.parametrize(
    "name",
    [
        "torchvision/resnet18",
        "torchvision/mobilenet_v2",
        pytest.param("torchvision/densenet121", marks=pytest.mark.slow),
        "timm/vit_tiny_patch16_224",
        pytest.param("torchvision/shufflenet_v2_x1_0", marks=pytest.mark.slow),
        pytest.param("torchvision/vit_b_32", marks=pytest.mark.slow),
        pytest.param("torchvision/swin_t", marks=pytest.mark.slow),
        pytest.param("timm/resnetv2_50", marks=pytest.mark.slow),
        pytest.param("timm/skresnet18", marks=pytest.mark.slow),
        pytest.param("timm/levit_128s", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore:compact made")
def test_the_cost_is_what_compact_known_networks_take(name: str) -> None:
    torch.manual_seed(0)
    source, model = name.split("/")
    network = timm.create_model(model) if source == "timm" else torchvision.models.get_model(model, weights=None)
    pixels = 224 if model in ("vit_tiny_patch16_224", "vit_b_32", "swin_t", "levit_128s") else 64
    assert_counted(randomise(network).eval(), torch.randn(2, 3, pixels, pixels), seeds=(0,))


@pytest.mark.parametrize("batch", [1, 3])
def test_two_convolutions_by_hand(batch: int) -> None:
    network, inputs = between(5), image()  # conv(3, 5), conv(5, 4)
    cost = memory_cost(network, dnal.Space.of(network, inputs), inputs, batch)
    for open_channels in range(1, 6):
        gates = (torch.arange(5) < open_channels).double()
        together = 3 + open_channels + 4  # the input, which its holder keeps, the middle and the output
        assert float(cost(gates)) == batch * together * PIXELS * FLOAT
    half = torch.full((5,), 0.5, dtype=torch.float64)
    assert float(cost(half)) == batch * (3 + 2.5 + 4) * PIXELS * FLOAT


def test_the_worst_moment_depends_on_the_gates() -> None:
    def compute(n: Net, x: Tensor) -> Tensor:
        x = n.wide(x)
        x = n.middle(x)
        return n.last(n.late(x))

    network = Net(compute, wide=conv(3, 9), middle=conv(9, 2), late=conv(2, 8), last=conv(8, 4))
    space = dnal.Space.of(network, image())
    cost = memory_cost(network, space, image(), 1)
    for wide, middle, late in [(9, 2, 8), (3, 2, 8), (9, 1, 1), (1, 1, 8), (1, 1, 1)]:
        gates = torch.zeros(space.num_gates)
        for parameter, count in (("wide.weight", wide), ("middle.weight", middle), ("late.weight", late)):
            gates[space.sources[parameter][0][:count]] = 1
        # a value lives while the next is made of it, and as long as its variable is not overwritten
        moments = [3 + wide, 3 + wide + middle, 3 + middle + late, 3 + middle + late + 4]
        assert float(cost(gates)) == max(moments) * PIXELS * FLOAT


def test_a_shortcut_lives_until_its_sum() -> None:
    """``residual()`` line by line, with what Python's variables hold."""
    given, stream, hidden, out = 3, 8, 5, 4
    moments = [
        given + stream,  # stem
        given + 2 * stream,  # relu
        given + stream + hidden,  # down
        given + stream + 2 * hidden,  # relu
        given + stream + hidden + stream,  # up of the relu; what down gave is gone
        given + 3 * stream,  # x, up, their sum
        given + 3 * stream,  # x is still the old one while relu is made
        given + 2 * stream,  # again; its sum with x stands in its place
        given + 2 * stream + out,  # last: x and again
    ]
    assert peak_memory(residual(), image(batch=1)) == max(moments) * PIXELS * FLOAT


def random_gates(space: dnal.Space, seed: int = 0) -> Tensor:
    return torch.rand(space.num_gates, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", ["residual sums tie", "depthwise", "squeeze-excite", "U-Net", "flatten into linear"])
def test_derivatives_are_those_of_finite_differences(name: str) -> None:
    build, _, inputs = EXAMPLES[name]
    network, examples = build(), inputs()
    space = dnal.Space.of(network, examples)
    cost = memory_cost(network, space, examples, 2)
    full = cost(torch.ones(space.num_gates))
    assert torch.autograd.gradcheck(lambda g: cost(g) / full, (random_gates(space).requires_grad_(),))


@pytest.mark.parametrize("name", ["residual sums tie", "U-Net", "attention loses heads"])
def test_nothing_costs_less_where_more_is_open(name: str) -> None:
    build, _, inputs = EXAMPLES[name]
    network, examples = build(), inputs()
    space = dnal.Space.of(network, examples)
    cost = memory_cost(network, space, examples, 3)
    gates = random_gates(space)
    for seed in range(5):
        more = torch.maximum(gates, random_gates(space, seed + 1))
        assert float(cost(more)) >= float(cost(gates))
        gates = more
    assert float(cost(torch.ones(space.num_gates))) >= float(cost(gates)) > float(cost(torch.zeros(space.num_gates)))


def test_inputs_count_and_parameters_do_not() -> None:
    one, other = image(batch=1), image(channels=7, batch=1)
    network = Net(lambda n, x, y: n.body(x), body=conv(3, 4), unused=nn.Linear(1000, 1000))
    assert peak_memory(network, (one, other)) == (3 + 7 + 4) * PIXELS * FLOAT


def test_views_and_in_place_operations_take_nothing() -> None:
    network = Net(lambda n, x: n.body(x).relu_().flatten(1).unsqueeze(0).add_(1), body=conv(3, 4))
    assert peak_memory(network, image(batch=1)) == (3 + 4) * PIXELS * FLOAT


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_bytes_follow_the_type(dtype: torch.dtype) -> None:
    network, images = between(5).to(dtype), image(batch=1).to(dtype)
    cost = memory_cost(network, dnal.Space.of(network, images), images, 1)
    assert float(cost(torch.ones(5))) == peak_memory(network, images) == (3 + 5 + 4) * PIXELS * dtype.itemsize


def test_counting_leaves_the_network_as_it_was() -> None:
    network = between(8, nn.BatchNorm2d(8), nn.Dropout(0.5)).train()
    inputs = image()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    kept, state = inputs.clone(), torch.get_rng_state()
    space = dnal.Space.of(network, inputs)
    memory_cost(network, space, inputs, 3)
    peak_memory(network, inputs)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.equal(inputs, kept)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("given", "wanted"), [(2, 1), (2, 2), (2, 5), (3, 7), (1, 4)])
def test_examples_are_repeated_in_their_memory_format(given: int, wanted: int) -> None:
    images = image(batch=given).to(memory_format=torch.channels_last)
    labels = torch.arange(given)
    batch = at_batch({"image": images, "label": labels, "scale": torch.ones(()), "other": 3}, wanted)
    assert isinstance(batch, dict)
    assert batch["image"].shape == (wanted, *images.shape[1:])
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert batch["label"].tolist() == [i % given for i in range(wanted)]
    assert torch.equal(batch["image"], images[batch["label"]])
    assert (batch["scale"], batch["other"]) == (torch.ones(()), 3)


def test_a_batch_that_is_none_is_refused() -> None:
    with pytest.raises(dnal.UserError, match="at least one example"):
        at_batch(image(), 0)


def test_a_network_that_takes_one_batch_only_is_refused() -> None:
    network = Net(lambda n, x: n.last(n.first(x).view(2, -1, SIDE, SIDE)), first=conv(3, 8), last=conv(8, 4))
    space = dnal.Space.of(network, image(batch=2))
    with pytest.raises(dnal.UserError, match="does not run on a batch of 3"):
        memory_cost(network, space, image(batch=2), 3)


def test_a_network_that_takes_another_path_is_refused() -> None:
    network = Net(
        lambda n, x: n.last(n.first(x).relu() if x.size(0) < 4 else n.first(x)), first=conv(3, 8), last=conv(8, 4)
    )
    space = dnal.Space.of(network, image(batch=2))
    with pytest.raises(dnal.UserError, match="other operations"):
        memory_cost(network, space, image(batch=2), 4)


def with_branches(space: dnal.Space, *removed: str) -> Any:
    """The Space with a branch variable for each of these modules."""
    branches = [
        SimpleNamespace(variable=space.num_variables + i, removes=lambda path, own=name: path.startswith(own))
        for i, name in enumerate(removed)
    ]
    known = {name: getattr(space, name) for name in ("operations", "baked")}
    return SimpleNamespace(**known, branches=branches)


def test_what_only_a_closed_branch_touches_counts_nothing() -> None:
    branch = nn.Sequential(conv(3, 9), conv(9, 4))
    network = Net(lambda n, x: n.out(n.stem(x) + n.branch(x)), stem=conv(3, 4), branch=branch, out=conv(4, 2))
    space = dnal.Space.of(network, image(), exclude="*")
    cost = memory_cost(network, with_branches(space, "branch"), image(), 1)
    assert float(cost(torch.ones(1))) == peak_memory(network, image(batch=1)) == (3 + 4 + 9 + 4) * PIXELS * FLOAT
    assert float(cost(torch.zeros(1))) == (3 + 4 + 4 + 4) * PIXELS * FLOAT  # there are zeros in the place of its result
    gates = torch.tensor([0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: cost(g) / cost(torch.ones(1)), (gates,))


def test_what_others_write_into_a_closed_branch_counts() -> None:
    def compute(n: Net, x: Tensor) -> Tensor:
        out = n.branch(x)
        out += n.stem(x)  # the sum stands where the branch's result stood
        return n.out(out)

    network = Net(compute, stem=conv(3, 4), branch=conv(3, 4), out=conv(4, 2))
    space = dnal.Space.of(network, image(), exclude="*")
    cost = memory_cost(network, with_branches(space, "branch"), image(), 1)
    assert float(cost(torch.zeros(1))) == float(cost(torch.ones(1))) == (3 + 4 + 4) * PIXELS * FLOAT


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("cifar/resnet20", 32),
        ("cifar/mobilenet_v2", 32),
        pytest.param("torchvision/resnet50", 64, marks=pytest.mark.slow),
        pytest.param("timm/convnext_atto", 64, marks=pytest.mark.slow),
        pytest.param("timm/vit_tiny_patch16_224", 224, marks=pytest.mark.slow),
    ],
)
def test_closed_branches_cost_no_less_than_their_compact_network_takes(name: str, pixels: int) -> None:
    images = torch.randn(2, 3, pixels, pixels)
    network = create(name, input_shape=(3, pixels, pixels))
    space = dnal.Space.of(network, images, depth=True)
    assert space.num_branches
    cost = memory_cost(network, space, images, 2)
    assert float(cost(torch.ones(space.num_gates))) == peak_memory(network, images)
    for seed, branches in enumerate((1.0, 0.5, 0.0)):
        architecture = dnal.Architecture.random(space, 0.5, seed, branches=branches)
        taken = peak_memory(dnal.compact(network, architecture, check=False), images)
        assert taken <= float(cost(architecture.open)) < 1.5 * taken
        assert branches < 1 or float(cost(architecture.open)) == taken
