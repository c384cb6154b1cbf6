"""Binary networks: exact facts of their layers, their gradients, and what their files and spaces make of them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dnal
from dnal import models
from dnal.base.errors import UserError
from dnal.models.binary.blocks import GroupBlock
from dnal.models.binary.convolution import BinaryConv2d, binary_conv2d
from dnal.models.binary.signs import sign
from dnal.models.binary.supernet import SlicedConv2d, Supernet
from dnal.models.genomes.families import FAMILIES
from dnal.train.setup.reinitialize import reset

NAME = "binary-mobilenet/stem_8-down_8-block_4-down_2"


def test_a_sign_is_a_bit_whose_gradient_is_that_of_the_number_cut_to_one() -> None:
    torch.manual_seed(0)
    x = torch.cat((torch.randn(200) * 2, torch.tensor([0.0, -0.0, 1.0, -1.0]))).requires_grad_()
    y = x.detach().clone().requires_grad_()
    weights = torch.randn(204)
    assert sign(x).unique().tolist() == [-1.0, 1.0]
    assert torch.equal(sign(x), torch.where(x >= 0, 1.0, -1.0))
    (sign(x) * weights).sum().backward()
    (F.hardtanh(y) * weights).sum().backward()
    inside = y.detach().abs() != 1  # at the edge itself torch's gradient is 0, and the definition's 1
    assert x.grad is not None
    assert y.grad is not None
    assert torch.equal(x.grad[inside], y.grad[inside])
    assert torch.equal(x.grad[~inside], weights[~inside])
    with torch.no_grad():
        assert torch.equal(sign(x), torch.where(x >= 0, 1.0, -1.0))
    assert sign(x.detach().half()).dtype == torch.float16


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_group_of_channels_gives_whole_numbers_of_one_parity_and_no_more_of_them_than_its_products(
    groups: int, stride: int
) -> None:
    """9 C / g + 1 values at most: 10 of a depthwise layer."""
    torch.manual_seed(groups)
    channels = 8
    layer = BinaryConv2d(channels, channels, 3, stride=stride, groups=groups)
    products = 9 * channels // groups
    scale = layer.weight.detach().abs().mean((1, 2, 3)).view(-1, 1, 1)
    with torch.no_grad():
        sums = (layer(torch.randn(64, channels, 9, 9)) / scale).double()
    whole = sums.round()
    assert torch.allclose(sums, whole, atol=1e-4)
    assert whole.abs().max() <= products
    assert torch.equal((whole + products) % 2, torch.zeros_like(whole))
    values = whole.unique().numel()
    assert values <= products + 1
    if groups == channels:
        assert values == 10  # all of them occur


def test_the_sums_are_those_of_a_convolution_written_out() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 5, 4), torch.randn(6, 2, 3, 3)
    found = binary_conv2d(x, weight, stride=2, groups=2)
    for n, o, i, j in ((0, 0, 0, 0), (1, 5, 2, 1), (0, 3, 1, 0), (1, 2, 2, 0)):
        total = 0.0
        for c in range(2):
            for a in range(3):
                for b in range(3):
                    row, column = 2 * i + a - 1, 2 * j + b - 1
                    inside = 0 <= row < 5 and 0 <= column < 4
                    value = float(x[n, 2 * (o // 3) + c, row, column]) if inside else 1.0
                    total += (1 if value >= 0 else -1) * (1 if weight[o, c, a, b] >= 0 else -1)
        assert found[n, o, i, j].item() == pytest.approx(total * weight[o].abs().mean().item(), abs=1e-5)


def test_no_gradient_reaches_what_is_larger_than_one() -> None:
    torch.manual_seed(0)
    layer = BinaryConv2d(2, 4, 3, groups=2)
    with torch.no_grad():
        layer.weight[0] = 3.0
    x = (2 * torch.randn(3, 2, 6, 6)).requires_grad_()
    layer(x).square().sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert not x.grad[x.detach().abs() > 1].any()
    assert x.grad[x.detach().abs() <= 1].count_nonzero() > 50
    assert not layer.weight.grad[0].any()
    assert layer.weight.grad[1:].all()


def test_a_block_that_goes_down_halves_the_image_and_doubles_the_channels() -> None:
    torch.manual_seed(0)
    for side in (1, 6, 7):
        x = torch.randn(3, 4, side, side)
        assert GroupBlock(4, 2)(x).shape == (3, 4, side, side)
        down = GroupBlock(4, 4, down=True)(x)
        assert down.shape == (3, 8, -(-side // 2), -(-side // 2))
    block = GroupBlock(4, 2, down=True).eval()
    for part in (block.spatial, block.pointwise):
        nn.init.zeros_(part.after.weight)  # type: ignore[arg-type]
    x = torch.randn(1, 4, 4, 4)  # then only what goes past is left, in real numbers
    past = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    assert torch.equal(block(x), torch.cat((past, past), 1))


def test_a_path_of_the_supernet_is_the_network_with_the_first_slices_of_its_weights() -> None:
    torch.manual_seed(0)
    family = FAMILIES["binary-mobilenet"]
    genome = family.parse("stem_8-down_1-block_1")
    supernet = Supernet(genome, [(1, 2, 8), (4, 2, 16)], classes=3, input_shape=(1, 8, 8)).eval()
    assert supernet.path == (1, 2)
    x = torch.randn(4, 1, 8, 8)
    for groups in ((1, 2), (8, 16), (2, 4)):
        supernet.select(groups)
        alone = models.create(
            f"binary-mobilenet/stem_8-down_{groups[0]}-block_{groups[1]}", classes=3, input_shape=(1, 8, 8)
        ).eval()
        state = supernet.network.state_dict()
        for name, tensor in alone.state_dict().items():
            tensor.copy_(state[name][:, : tensor.size(1)] if tensor.dim() == 4 else state[name])
        assert torch.equal(supernet(x), alone(x))
    with pytest.raises(UserError, match="3 groups are no candidate; there are 1, 2, 8"):
        supernet.select((3, 4))
    with pytest.raises(UserError, match="do not divide the 16 channels"):
        Supernet(genome, [(1,), (3,)], classes=3, input_shape=(1, 8, 8))


def test_training_draws_every_path_alike_and_evaluation_none() -> None:
    genome = FAMILIES["binary-mobilenet"].parse("stem_4-block_1")
    supernet = Supernet(genome, [(1, 2, 4)], classes=2, input_shape=(1, 2, 2), seed=1)
    x, drawn = torch.randn(2, 1, 2, 2), []
    for _ in range(300):
        supernet(x)
        drawn.append(supernet.path[0])
    assert all(70 < drawn.count(groups) < 130 for groups in (1, 2, 4))
    supernet.eval()
    supernet.select((2,))
    supernet(x)
    assert supernet.path == (2,)
    convolution = supernet.network.get_submodule("block1.spatial.conv")
    assert isinstance(convolution, SlicedConv2d)
    supernet.network.zero_grad()
    supernet(x).sum().backward()
    gradient = convolution.weight.grad
    assert gradient is not None
    assert not gradient[:, 2:].any()  # only the slices of the path learn


@pytest.mark.parametrize("sizes", [(1, 8, 8), (3, 17, 13), (2, 1, 1)])
def test_the_network_of_a_name_learns_and_is_drawn_again(sizes: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network = models.create(NAME, classes=4, input_shape=sizes)
    x, y = torch.randn(16, *sizes), torch.arange(16) % 4
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    before = network.get_submodule("block1.spatial.conv").weight.detach().clone()  # type: ignore[operator]
    reset(network, 3)
    assert not torch.equal(before, network.get_submodule("block1.spatial.conv").weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("binary-mobilenet/block_4", "has one 'stem', first"),
        ("binary-mobilenet/stem_4-stem_4", "has one 'stem', first"),
        ("binary-mobilenet/stem_6-block_4", "the groups of 'block_4' do not divide the 6 channels"),
        ("binary-mobilenet/stem_4096" + "-down_1" * 8, "has a layer of more than"),
    ],
)
def test_a_name_that_is_no_binary_network_is_a_sentence(name: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        models.create(name)
    assert said in str(error.value)


def test_no_channel_of_a_binary_network_may_leave_and_the_network_stays_as_it_was() -> None:
    """A channel of zeros is a channel of bits +1: whoever reads it reads something."""
    torch.manual_seed(0)
    network = models.create(NAME, classes=4, input_shape=(1, 8, 8)).eval()
    x = torch.randn(2, 1, 8, 8)
    expected = network(x)
    space = dnal.Space.of(network, x, depth=True)
    assert space.num_variables == 0
    assert not space.baked  # a plain layer with those weights would learn real ones
    assert any("computes its weight" in fixed.reason for fixed in space.fixed)
    assert torch.equal(network(x), expected)
    assert any(isinstance(module, BinaryConv2d) for module in network.modules())


@pytest.mark.slow
def test_a_file_holds_the_sign_written_out_and_computes_the_same(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network = models.create("binary-mobilenet/stem_4-down_2", classes=4, input_shape=(1, 7, 7)).eval()
    found = dnal.export.to_onnx(network, torch.randn(2, 1, 7, 7), tmp_path / "bits.onnx")
    assert max(found.differences.values()) <= 1e-4
    graph = onnx.load(tmp_path / "bits.onnx").graph
    operations = [node.op_type for node in graph.node]
    assert "Sign" not in operations  # ONNX's sign of 0 is 0
    assert "Clip" not in operations
    compared = operations.count("GreaterOrEqual") + operations.count("Less")
    assert compared >= sum(isinstance(module, BinaryConv2d) for module in network.modules())


def test_paths_are_drawn_by_their_own_seed() -> None:
    genome = FAMILIES["binary-mobilenet"].parse("stem_4-block_1-block_1")
    paths = []
    for _ in range(2):
        torch.manual_seed(len(paths))
        random.seed(len(paths))
        supernet = Supernet(genome, [(1, 2, 4)] * 2, classes=2, input_shape=(1, 2, 2), seed=5)
        own = []
        for _ in range(6):
            supernet(torch.zeros(2, 1, 2, 2))
            own.append(supernet.path)
        paths.append(own)
    assert paths[0] == paths[1]
