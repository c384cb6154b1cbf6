"""What methods do to networks: applied, written down and read again."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

import dnal
from dnal.base.errors import UserError
from dnal.changes import CHANGES, Change, Found, Growth, Masks, Removal
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.resume.tree import packed, unpacked


def network() -> nn.Module:
    torch.manual_seed(0)
    chain = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip
    with torch.no_grad():
        for module in chain.modules():
            if isinstance(module, nn.BatchNorm2d):
                for value in (module.weight, module.bias, module.running_mean, module.running_var):
                    value.copy_(torch.rand_like(value) + 0.5)
    return chain.eval()


@pytest.fixture(scope="module")
def space() -> dnal.Space:
    return dnal.Space.of(network(), torch.rand(2, 1, 6, 6))


def masks(space: dnal.Space) -> Masks:
    """Random ones; of the third channel of the second convolution all that is read is masked, in every position."""
    draw = torch.Generator().manual_seed(1)
    drawn = {n: torch.rand(p.shape, generator=draw) < 0.4 for n, p in network().named_parameters() if p.dim() > 1}
    drawn["8.weight"].view(3, 8, 4)[:, 2] = False
    return Masks.among(space, drawn)


def changes(space: dnal.Space) -> list[Change]:
    copies = torch.ones(space.num_variables, dtype=torch.long)
    copies[::3] = 2
    copies[1] = 3
    return [
        Removal(dnal.Architecture.random(space, 0.5)),
        masks(space),
        Growth.of(space, copies),
        Found.of(network(), 3),
    ]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_change_survives_its_document_and_leaves_the_network_as_it_is(number: int, space: dnal.Space) -> None:
    change, base, images = changes(space)[number], network(), torch.rand(4, 1, 6, 6)
    before = copy.deepcopy(base.state_dict())
    changed = change.apply(base)
    again = type(change).of_document(unpacked(*packed(change.document()))).apply(base)
    assert type(change) is CHANGES[number]
    with torch.no_grad():
        assert torch.equal(changed(images), again(images))
        alike = changed[0].weight.shape == base[0].weight.shape
        assert not alike or torch.equal(changed[0].weight, base[0].weight) == isinstance(change, Found)
    assert all(torch.equal(before[name], value) for name, value in base.state_dict().items())
    assert {type(module) for module in changed.modules()} == {type(module) for module in base.modules()}


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_another_network_is_refused(number: int, space: dnal.Space) -> None:
    with pytest.raises(UserError, match="another network"):
        changes(space)[number].apply(nn.Sequential(nn.Conv2d(1, 5, 3)))


def test_masks_are_zeros_and_stay_zeros_in_training(space: dnal.Space) -> None:
    full = masks(space)
    change, base = Masks(full.masks, full.shapes), network()
    masked = change.apply(base)
    torch.manual_seed(0)
    data = [(torch.rand(8, 1, 6, 6), torch.randint(3, (8,))) for _ in range(3)]
    context = Context(Fabric(accelerator="cpu", devices=1), data, F.cross_entropy)
    run_phase(Phase("retrain", 2, 0.1), masked, context, hooks=change.hooks(masked))
    for name, mask in change.masks.items():
        weight = masked.get_parameter(name)
        assert bool((weight[~mask] == 0).all())
        assert bool((weight[mask] != 0).all())


@pytest.mark.parametrize("seed", range(3))
def test_a_grown_network_computes_the_same(seed: int, space: dnal.Space) -> None:
    draw = torch.Generator().manual_seed(seed)
    copies = torch.randint(1, 4, (space.num_variables,), generator=draw)
    base, images = network(), torch.rand(4, 1, 6, 6)
    grown = Growth.of(space, copies).apply(base)
    assert grown[0].out_channels + grown[3].out_channels == int(copies.sum())
    with torch.no_grad():
        assert torch.allclose(grown(images), base(images), atol=1e-5)
    assert dnal.macs(grown, images[:1]) > dnal.macs(base, images[:1])
    shrunk = dnal.Space.of(grown, images[:2])
    assert shrunk.num_variables == int(copies.sum()), "what was grown can be learnt away again"


@pytest.mark.parametrize(
    "document",
    [
        {}, {"format": 2, "masks": {}}, {"format": 1, "masks": {"a": torch.ones(2)}}, {"format": 1, "masks": []}, None,
    ],
)  # fmt: skip
def test_masks_of_nothing_are_a_sentence(document: Any) -> None:
    with pytest.raises(UserError, match="no bits"):
        Masks.of_document(document)


@pytest.mark.parametrize(
    "document",
    [
        None, {}, {"sources": {"a": [torch.tensor([0, 3])]}, "shares": {"a": [None]}, "shapes": {"a": [2]}},
        {"sources": {"a": [torch.tensor([0.5])]}, "shares": {"a": [None]}, "shapes": {"a": [2]}},
        {"sources": {"a": [None]}, "shares": {"a": [torch.ones(2)]}, "shapes": {"a": [2]}},
        {"sources": {"a": [None, None]}, "shares": {"a": [None]}, "shapes": {"a": [2]}},
    ],
)  # fmt: skip
def test_a_growth_of_nothing_is_a_sentence(document: Any) -> None:
    with pytest.raises(UserError, match="which channels are copied"):
        Growth.of_document(document)


def test_a_growth_needs_a_number_for_each_variable(space: dnal.Space) -> None:
    for wrong in (torch.ones(2, dtype=torch.long), torch.zeros(space.num_variables, dtype=torch.long)):
        with pytest.raises(UserError, match="each 1 or more"):
            Growth.of(space, wrong)


def different(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape or not torch.equal(a, b)
