"""compact: an ordinary network of the user's own class, and the original left alone."""

import copy
import warnings

import pytest
import torch
from torch import nn

import dnal
from independent import difference, randomise, run
from networks import EXAMPLES, between, conv, image


def example(name: str) -> tuple[nn.Module, object, dnal.Space]:
    build, _, inputs = EXAMPLES[name]
    torch.manual_seed(0)
    network, example = randomise(build()).eval(), inputs()
    return network, example, dnal.Space.of(network, example)


def test_sizes_are_those_of_the_weights() -> None:
    network = nn.Sequential(
        conv(3, 8), nn.BatchNorm2d(8), nn.PReLU(8),
        conv(8, 8, groups=8), nn.BatchNorm2d(8, affine=False), nn.ReLU(),
        conv(8, 6, 1), nn.ReLU(), nn.ConvTranspose2d(6, 5, 2, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4),
    ).eval()  # fmt: skip
    space = dnal.Space.of(network, image())
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    assert (small[0].in_channels, small[0].out_channels) == (3, 4)
    assert small[1].num_features == small[2].num_parameters == 4
    assert (small[3].in_channels, small[3].out_channels, small[3].groups) == (4, 4, 4)
    assert small[4].num_features == small[4].running_mean.numel() == 4
    assert (small[6].in_channels, small[6].out_channels) == (4, 3)
    assert (small[8].in_channels, small[8].out_channels) == (3, 2)
    assert small[8].weight.shape[:2] == (3, 2)
    assert (small[12].in_features, small[12].out_features) == (2, 4)
    assert (small[14].in_features, small[14].out_features) == (4, 4)
    assert "4, 4, kernel_size=(3, 3)" in str(small[3])


@pytest.mark.parametrize("name", ["tied weights", "a module called twice"])
def test_ties_stay_ties(name: str) -> None:
    network, _, space = example(name)
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    once = [n for n, _ in network.named_parameters()]
    assert [n for n, _ in small.named_parameters()] == once
    names = [n for n, _ in network.named_parameters(remove_duplicate=False)]
    assert [n for n, _ in small.named_parameters(remove_duplicate=False)] == names
    assert len(names) > len(once)


def test_buffers_under_two_names_stay_one() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = conv(3, 8), conv(8, 4)
            self.register_buffer("mask", torch.rand(8, 1, 1))
            self.inner = nn.Module()
            self.inner.register_buffer("mask", self.mask)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x).relu() * self.mask + self.inner.mask)

    network = Masked()
    space = dnal.Space.of(network, image())
    assert space.num_variables == 8
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    assert small.mask is small.inner.mask
    assert small.mask.shape == (4, 1, 1)


def test_other_references_to_a_parameter_follow() -> None:
    network = between(8, nn.BatchNorm2d(8), nn.ReLU())
    network.favourites = [network[0].weight, network[1].running_mean]
    space = dnal.Space.of(network, image())
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    assert small.favourites[0] is small[0].weight
    assert small.favourites[1] is small[1].running_mean
    assert network.favourites[0] is network[0].weight


def test_the_original_and_its_copy_share_nothing() -> None:
    network, _, space = example("conv-bn chain")
    state = copy.deepcopy(network.state_dict())
    for architecture in (dnal.Architecture.random(space, 0.5), dnal.Architecture.random(space, 1.0)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            small = dnal.compact(network, architecture)
        with torch.no_grad():
            for tensor in small.state_dict().values():
                tensor.add_(1)
        assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_modes_and_frozen_parameters_are_kept() -> None:
    network = between(8, nn.BatchNorm2d(8), nn.ReLU()).train()
    network[1].eval()
    network[0].requires_grad_(False)
    space = dnal.Space.of(network, image())
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    assert [m.training for m in small.modules()] == [m.training for m in network.modules()]
    assert [p.requires_grad for p in small.parameters()] == [p.requires_grad for p in network.parameters()]
    assert all(p.is_leaf and p.grad is None for p in small.parameters())


def test_compacting_again_goes_on_from_there() -> None:
    network, inputs, space = example("residual sums tie")
    small = dnal.compact(network, dnal.Architecture.random(space, 0.6))
    again = dnal.Space.of(small, inputs)
    assert again.num_variables == int(dnal.Architecture.random(space, 0.6).open.sum())
    assert again.full_cost["macs"] == dnal.macs(small, inputs)
    smaller = dnal.compact(small, dnal.Architecture.random(again, 0.5))
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in small.parameters())
    assert run(smaller, inputs)[0].shape == run(network, inputs)[0].shape


def test_weights_load_without_pickle(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    network, inputs, space = example("squeeze-excite")
    architecture = dnal.Architecture.random(space, 0.5)
    small = dnal.compact(network, architecture)
    save_file({name: tensor.contiguous() for name, tensor in small.state_dict().items()}, tmp_path / "m.safetensors")
    architecture.save(tmp_path / "a.json")
    torch.manual_seed(7)
    fresh = dnal.compact(EXAMPLES["squeeze-excite"][0]().eval(), dnal.Architecture.load(tmp_path / "a.json"))
    assert difference(run(small, inputs), run(fresh, inputs)) > 0
    fresh.load_state_dict(load_file(tmp_path / "m.safetensors"))
    assert difference(run(small, inputs), run(fresh, inputs)) == 0


def test_a_full_architecture_warns_and_a_smaller_one_does_not() -> None:
    network, inputs, space = example("conv-bn chain")
    with pytest.warns(UserWarning, match="removed nothing"):
        same = dnal.compact(network, dnal.Architecture.full(space))
    assert difference(run(network, inputs), run(same, inputs)) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dnal.compact(network, dnal.Architecture.random(space, 0.9))
