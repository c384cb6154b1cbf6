"""Masks of the largest weights, and what becomes empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.changes.masks import Masks, empty_variables
from dnal.methods.sparsity.masks import largest, maskable
from dnal.methods.sparsity.rounds import MagnitudeMasks
from dnal.models import create
from independent import randomise
from tasks import task_of


def loaders() -> dnal.data.Loaders:
    return dnal.data.loaders(dnal.data.load("digits", limit_train=200), 48)


def chosen(network: nn.Module, space: dnal.Space, keep: float) -> Masks:
    return MagnitudeMasks(keep=keep, rounds=1, reset="none").choose(task_of(network, space, [], {}))


@pytest.mark.parametrize("keep", [0.5, 0.1, 0.013])
def test_the_largest_of_all_weights_stay(keep: float) -> None:
    torch.manual_seed(0)
    network = create("vgg_small", classes=10, input_shape=(1, 8, 8))
    space = dnal.Space.of(network, torch.rand(2, 1, 8, 8))
    masks = chosen(network, space, keep).masks
    weights = {n: p.detach().numpy() for n, p in network.named_parameters() if p.dim() > 1}
    assert masks.keys() == weights.keys()
    every = np.sort(np.abs(np.concatenate([w.ravel() for w in weights.values()])))[::-1]
    least = every[round(keep * len(every)) - 1]
    for name, weight in weights.items():
        assert np.array_equal(masks[name].numpy(), np.abs(weight) >= least)


def test_of_equal_weights_the_first_stay_and_one_always_does() -> None:
    masks = largest({"a": torch.ones(2, 3), "b": -torch.ones(1, 2)}, 0.5)
    assert [mask.tolist() for mask in masks.values()] == [[[True, True, True], [True, False, False]], [[False, False]]]
    assert sum(int(mask.sum()) for mask in largest({"a": torch.rand(2, 3)}, 1e-9).values()) == 1


def branched() -> nn.Module:
    """A stream that three layers read, a depthwise convolution, and a flattened end."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
            self.down, self.deep = nn.Conv2d(6, 5, 1), nn.Conv2d(5, 5, 3, padding=1, groups=5)
            self.up, self.last = nn.Conv2d(5, 6, 1), nn.Linear(6 * 16, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.stem(x)).relu()
            x = x + self.up(self.deep(self.down(x)).relu())
            return self.last(x.flatten(1))

    torch.manual_seed(0)
    return randomise(Net()).eval()


@pytest.mark.parametrize("seed", range(6))
def test_what_is_empty_is_removed_and_nothing_else_changes(seed: int) -> None:
    network = branched()
    space = dnal.Space.of(network, torch.rand(2, 1, 4, 4))
    draw = torch.Generator().manual_seed(seed)
    masks = {name: torch.rand(p.shape, generator=draw) < 0.3 for name, p in maskable(network, space).items()}
    for channel in torch.randperm(6, generator=draw)[:2].tolist():  # of these nothing is read any more
        masks["down.weight"][:, channel] = False
        masks["last.weight"].view(3, 6, 16)[:, channel] = False
    masks["up.weight"][:, int(torch.randint(5, (), generator=draw))] = False
    change = Masks.among(space, masks)
    assert change.architecture is not None
    small, images = change.apply(network), torch.randn(5, 1, 4, 4)
    assert small.stem.out_channels <= 4
    assert small.deep.groups == small.down.out_channels <= 4
    with torch.no_grad():
        expected = Masks(masks, change.shapes).apply(network)(images)
        assert float((small(images) - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    for name, mask in masks.items():
        assert int((small.get_parameter(name) != 0).sum()) <= int(mask.sum())


def test_what_reads_only_what_left_follows_it() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    space = dnal.Space.of(network, torch.rand(2, 1, 4, 4))
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in maskable(network, space).items()}
    assert not bool(empty_variables(space, masks).any())
    masks["4.weight"][:, 1] = False
    masks["2.weight"][[0, 2, 3], 2] = False  # the third channel is read by the second alone, of which nothing is read
    gone = {space.names[i] for i in empty_variables(space, masks).nonzero().squeeze(1).tolist()}
    assert gone == {("0.bias", 0, 2), ("2.bias", 0, 1)}


def test_a_channel_that_nothing_makes_stays_for_its_bias() -> None:
    network = branched()
    space = dnal.Space.of(network, torch.rand(2, 1, 4, 4))
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in maskable(network, space).items()}
    masks["stem.weight"][2] = False
    assert Masks.among(space, masks).architecture is None


def test_a_group_that_is_empty_keeps_a_channel() -> None:
    network = branched()
    space = dnal.Space.of(network, torch.rand(2, 1, 4, 4))
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in maskable(network, space).items()}
    masks["up.weight"][:] = False
    small, images = Masks.among(space, masks).apply(network), torch.randn(3, 1, 4, 4)
    assert small.down.out_channels == 1
    with torch.no_grad():
        assert torch.allclose(small(images), Masks(masks, dict(space.shapes)).apply(network)(images), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"reinitialize": True}, {"reinitialize": True, "epochs": (1, 1, 0)}])
@pytest.mark.parametrize("techniques", [[], ["ema:decay=0.5"]])
def test_masked_weights_are_zero_at_the_end(options: dict[str, object], techniques: list[str]) -> None:
    torch.manual_seed(0)
    data, network = loaders(), create("vgg_small", classes=10, input_shape=(1, 8, 8))
    settings: dict[str, object] = {"epochs": (0, 1, 1), **options}
    if settings["epochs"] == (1, 1, 0):  # the search's epoch is the retraining's then
        settings["epochs"] = (1, 0, 0)
    learned = dnal.learn(
        network, data.train, data.val, method="magnitude-masks:keep=20%,rounds=1,reset=none", techniques=techniques,
        **settings,
    )  # fmt: skip
    assert isinstance(learned.change, Masks)
    count = sum(int((p != 0).sum()) for p in learned.network.parameters() if p.dim() > 1)
    whole = sum(mask.numel() for mask in learned.change.masks.values())
    assert count == round(0.2 * whole)
    for name, mask in learned.change.masks.items():
        assert not bool((learned.network.get_parameter(name)[~mask] != 0).any())
    assert f"{whole - count:,} of its {whole:,}" in learned.change.remarks()[0]


def test_a_tensor_that_keeps_nothing_is_told() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    with torch.no_grad():
        network[0].weight.fill_(0.01)
    space = dnal.Space.of(network, torch.rand(2, 1, 4, 4))
    with pytest.warns(UserWarning, match=r"keeping 50 % leaves no weight of 0\.weight"):
        chosen(network, space, 0.5)


def test_layers_that_compute_their_weight_are_left_alone() -> None:
    network = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 6, 3, padding=1)), nn.ReLU(), nn.Conv2d(6, 4, 1)
    )
    space = dnal.Space.of(network, torch.rand(2, 1, 4, 4))
    masks = chosen(network, space, 0.5).masks
    assert list(masks) == ["2.weight"]
    gone = {"2.weight": torch.zeros_like(masks["2.weight"])}
    gone["2.weight"][:, 0] = True
    small, images = Masks.among(space, gone).apply(network), torch.rand(2, 1, 4, 4)
    with torch.no_grad():
        assert torch.allclose(small(images), Masks(gone, dict(space.shapes)).apply(network)(images), atol=1e-6)
