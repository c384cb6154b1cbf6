"""dnal's own networks: the paper's baselines to the last printed digit, shapes, and that they train."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dnal import models
from dnal.base.errors import UserError
from dnal.data import KINDS
from dnal.space.surgery.running import call
from dnal.train.outputs import logits_of, task_loss


def counted_macs(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of one image, counted by torch."""
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def paper_count(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """MACs as the paper's authors count: one more operation per 2-D batch-norm channel and per bias."""
    norms = sum(m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    biases = sum(m.bias.numel() for m in network.modules() if isinstance(m, nn.Linear) and m.bias is not None)
    return counted_macs(network, shape) + norms + biases


LARGE = ("widenet/base", "widenet/large", "widenet/huge", "restoration/promptir")


def own_names(images: bool) -> list[object]:
    names = [name for name in models.own_names() if (models.kind_of(name) == "images") == images]
    return [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in names]


OF_IMAGES, OF_OTHERS = own_names(images=True), own_names(images=False)


@pytest.mark.parametrize(
    ("name", "macs", "printed_macs", "printed_parameters"),
    [
        ("cifar/vgg16_bn", 313_463_808, "313.47", "14.99"),
        ("cifar/resnet56", 125_485_696, "125.49", "0.85"),
        ("cifar/mobilenet_v2", 91_154_944, "91.17", "2.30"),
    ],
)
def test_baselines_of_the_paper(name: str, macs: int, printed_macs: str, printed_parameters: str) -> None:
    network = models.create(name)
    shape = models.default_input(name)
    assert counted_macs(network, shape) == macs
    assert f"{paper_count(network, shape) / 1e6:.2f}" == printed_macs
    assert f"{parameters(network) / 1e6:.2f}" == printed_parameters


def test_resnet20() -> None:
    network = models.create("cifar/resnet20")
    assert counted_macs(network, (3, 32, 32)) == 40_551_040
    assert parameters(network) == 269_722


@pytest.mark.parametrize("name", OF_IMAGES)
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 16, 16), (1, 28, 28), (4, 33, 20)])
def test_shapes(name: str, shape: tuple[int, int, int]) -> None:
    network = models.create(name, classes=7, input_shape=shape).eval()
    with torch.no_grad():
        assert network(torch.randn(2, *shape)).shape == (2, 7)


def test_small_vgg_takes_digits() -> None:
    assert models.default_input("vgg_small") == (1, 8, 8)
    assert models.create("vgg_small")(torch.randn(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_one_step_lowers_the_loss_of_its_batch(name: str) -> None:
    torch.manual_seed(0)
    channels, *_ = models.default_input(name)
    side = 64 if name == "supernet/proxyless" else 16  # at 16 it has one pixel left long before its end
    network = models.create(name, classes=3, input_shape=(channels, side, side))
    x, y = torch.randn(6, channels, side, side), torch.tensor([0, 1, 2, 0, 1, 2])

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same dropout and noise both times
        return task_loss(network(x), y)

    before = loss()
    assert torch.isfinite(before)
    before.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    with torch.no_grad():
        for p in network.parameters():
            p -= 1e-3 * p.grad / (p.grad.norm() + 1e-12)
    assert loss() < before


@pytest.mark.parametrize("name", OF_OTHERS)
def test_one_step_lowers_the_loss_of_other_data(name: str) -> None:
    torch.manual_seed(0)
    kind, sizes = KINDS[models.kind_of(name) or ""], models.default_input(name)
    network, inputs = models.create(name, classes=3), kind.drawn(sizes, 4)
    logits = logits_of(call(network, inputs))
    assert logits.shape[:2] == (4, 3)
    y = torch.randint(3, (4, *logits.shape[2:]))

    def loss() -> torch.Tensor:
        torch.manual_seed(1)
        return task_loss(call(network, inputs), y)

    before = loss()
    before.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    with torch.no_grad():
        for p in network.parameters():
            p -= 1e-3 * p.grad / (p.grad.norm() + 1e-12)
    assert loss() < before
    with pytest.raises(UserError, match=f"is for {kind.name}, and not for images"):
        models.create(name, input_shape=(3, 32, 32), kind="images")


def test_option_a_is_subsampling_and_zero_channels() -> None:
    from dnal.models.cifar_resnet import OptionA

    x = torch.randn(2, 16, 8, 8)
    expected = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
    shortcut = OptionA(16, 32)
    assert torch.equal(shortcut(x), expected)
    assert dict(shortcut.named_buffers()).keys() == {"before", "after"}


def test_option_a_survives_the_removal_of_all_its_zero_channels() -> None:
    from dnal.models.cifar_resnet import OptionA

    x = torch.randn(2, 5, 8, 8)
    shortcut = OptionA(16, 32)
    shortcut.before, shortcut.after = shortcut.before[:0], shortcut.after[:3]
    assert torch.equal(shortcut(x), nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 3)))


def test_too_small_an_input_is_refused() -> None:
    with pytest.raises(UserError, match="at least 16x16, not 8x8"):
        models.create("cifar/vgg16_bn", input_shape=(3, 8, 8))


def test_own_models_have_no_pretrained_weights() -> None:
    with pytest.raises(UserError, match="has no pretrained weights"):
        models.create("vgg_small", pretrained=True)


@pytest.mark.parametrize("shape", [(3, 0, 8), (3, 8), (-1, 8, 8)])
def test_impossible_inputs(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="channels, height and width"):
        models.create("vgg_small", input_shape=shape)  # type: ignore[arg-type]


def test_impossible_classes() -> None:
    with pytest.raises(UserError, match="at least one class"):
        models.create("vgg_small", classes=0)


def test_a_name_is_registered_once() -> None:
    from dnal.models.registry import own_models

    with pytest.raises(RuntimeError, match="two models"):
        models.register("vgg_small", input_shape=(1, 8, 8))(own_models()["vgg_small"].build)
