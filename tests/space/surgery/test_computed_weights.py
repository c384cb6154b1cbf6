"""Layers whose weight torch's own utilities compute: what to call is said where their channels are listed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization
from torch.nn.utils import parametrize, prune
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.utils.data import DataLoader, TensorDataset

import dnal
from independent import assert_exact, coin_flips, randomise

REMEDY = "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"


def network(computing: Callable[[nn.Module], nn.Module]) -> nn.Sequential:
    layers = [computing(nn.Conv2d(3, 8, 3)), nn.ReLU(), computing(nn.Conv2d(8, 6, 3)), nn.Flatten(), nn.Linear(96, 4)]
    return nn.Sequential(*layers).eval()


def test_the_listing_says_what_to_call_and_it_helps() -> None:
    images, whole = torch.randn(2, 3, 8, 8), network(spectral_norm)
    space = dnal.Space.of(whole, images)
    assert space.num_variables == 0
    reasons = {fixed.reason for fixed in space.fixed if fixed.name.startswith(("0.", "2."))}
    assert reasons
    assert all(REMEDY in reason for reason in reasons)
    assert REMEDY in str(space.explain("0.bias"))
    for layer in (whole[0], whole[2]):
        parametrize.remove_parametrizations(layer, "weight")
    space = dnal.Space.of(whole, images)
    assert space.num_variables == 8 + 6
    assert REMEDY not in str(space.fixed)


def normed_chain() -> tuple[nn.Module, Tensor, list[int]]:
    layers = [
        weight_norm(nn.Conv1d(3, 8, 3)),
        nn.ELU(),
        weight_norm(nn.Conv1d(8, 8, 3, groups=8)),
        weight_norm(nn.ConvTranspose1d(8, 6, 2, 2)),  # its norm runs over what it writes
        nn.ELU(),
        weight_norm(nn.Conv1d(6, 10, 1)),
        nn.ReLU(),
        nn.Flatten(),
        weight_norm(nn.Linear(10 * 32, 4)),
    ]
    return nn.Sequential(*layers), torch.randn(2, 3, 20), [8, 6, 10]


def normed_sum() -> tuple[nn.Module, Tensor, list[int]]:
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1)

    return nn.Sequential(weight_norm(nn.Conv2d(3, 8, 3)), nn.ReLU(), Sum()), torch.randn(2, 3, 8, 8), [8]


def normed_state() -> tuple[nn.Module, Tensor, list[int]]:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.GRU(5, 8, batch_first=True), nn.Linear(8, 4)
            weight_norm(self.layer, "weight_hh_l0")

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.layer(x)[0])

    return Last(), torch.randn(2, 7, 5), [8]


@pytest.mark.parametrize("make", [normed_chain, normed_sum, normed_state])
def test_weight_norm_loses_channels_as_it_stands(make: Callable[[], tuple[nn.Module, Tensor, list[int]]]) -> None:
    torch.manual_seed(0)
    whole, inputs, widths = make()
    whole = randomise(whole).eval()
    space = dnal.Space.of(whole, inputs)
    assert [group.width for group in space.groups] == widths
    assert not space.unknown
    for seed in range(3):
        small = assert_exact(whole, inputs, space, coin_flips(space, seed))
        before = [type(module) for module in whole.modules()]
        assert [type(module) for module in small.modules()] == before
    for network in (small, dnal.gated(whole, coin_flips(space, 0))):
        network.train()(inputs).square().sum().backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_a_weight_norm_of_the_old_kind_is_refused_with_what_to_call() -> None:
    whole = network(nn.utils.weight_norm)
    with pytest.raises(dnal.UserError, match=r"as long as '0' computes its weight; call .*remove_weight_norm\(layer\)"):
        dnal.Space.of(whole, torch.randn(2, 3, 8, 8))
    for layer in (whole[0], whole[2]):
        nn.utils.remove_weight_norm(layer)
    assert dnal.Space.of(whole, torch.randn(2, 3, 8, 8)).num_variables == 8 + 6


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def test_other_layers_keep_their_reasons() -> None:
    whole = network(lambda layer: layer)
    parametrize.register_parametrization(whole[4], "weight", Halved())
    space = dnal.Space.of(whole, torch.randn(2, 3, 8, 8))
    reasons = {fixed.name: fixed.reason for fixed in space.fixed}
    assert "it reads the network's input" in reasons["0.weight"]


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_masks_of_torch_are_refused_with_what_to_call(name: str) -> None:
    whole, images = network(lambda layer: layer), torch.randn(2, 3, 8, 8)
    prune.random_unstructured(whole[0], name, 0.3)
    whole(images)
    with pytest.raises(dnal.UserError, match=rf"'0' computes its {name}; call .*prune\.remove\(layer, '{name}'\)"):
        dnal.Space.of(whole, images)
    prune.remove(whole[0], name)
    assert dnal.Space.of(whole, images).num_variables == 8 + 6


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization")
def test_a_network_prepared_for_quantisation_is_told_the_other_order() -> None:
    def prepared(network: nn.Module) -> nn.Module:
        network.train().qconfig = quantization.get_default_qat_qconfig("x86")
        return quantization.prepare_qat(network)

    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    loader = DataLoader(TensorDataset(images, labels), 2)
    with pytest.raises(dnal.UserError, match="preparation for quantisation put there: remove channels first"):
        dnal.learn(prepared(network(lambda layer: layer)), loader, loader, epochs=(1, 1, 1))
    whole = network(lambda layer: layer)
    small = dnal.compact(whole, dnal.Architecture.random(dnal.Space.of(whole, images), keep=0.5))
    twin = prepared(small)
    twin(images).sum().backward()
    assert quantization.convert(twin.eval())[0].weight().is_quantized
