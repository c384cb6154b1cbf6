"""Masks as pure functions, against numpy and against torch's own pruning."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from dnal.base.errors import UserError
from dnal.methods.sparsity.masks import (
    all_of,
    counts_of,
    cubic,
    kept,
    largest,
    largest_of_each,
    of_round,
    random_masks,
    two_of_four,
)


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = {"a": (8, 3, 3, 3), "b": (16, 8, 3, 3), "c": (10, 16)}
    return {name: (1 + i) * torch.randn(shape, generator=draw) for i, (name, shape) in enumerate(shapes.items())}


def test_rounds_of_masks_are_those_of_torchs_global_pruning() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(16, 10))
    masks = all_of({name: p for name, p in network.named_parameters() if p.dim() > 1})
    torchs = [(network[i], "weight") for i in (0, 1, 3)]
    total = sum(mask.numel() for mask in masks.values())
    for number in (1, 2, 3):
        plain = {f"{i}.weight": getattr(m, "weight_orig", m.weight).detach() for (m, _), i in
                 zip(torchs, (0, 1, 3), strict=True)}  # fmt: skip
        masks = largest(plain, of_round(0.1, number, 3), masks)
        left = sum(counts_of(masks).values())
        already = sum(int(m.weight_mask.sum()) if hasattr(m, "weight_mask") else m.weight.numel() for m, _ in torchs)
        prune.global_unstructured(torchs, prune.L1Unstructured, amount=already - left)
        for (module, _), i in zip(torchs, (0, 1, 3), strict=True):
            assert torch.equal(module.weight_mask.bool(), masks[f"{i}.weight"])
        assert left == round(0.1 ** (number / 3) * total)
        with torch.no_grad():  # the weights move between rounds
            for module, _ in torchs:
                module.weight_orig.add_(0.3 * torch.randn_like(module.weight_orig))
                for hook in module._forward_pre_hooks.values():
                    hook(module, None)  # as a forward pass would: torch's masked weight is computed there


def test_a_weight_of_zero_is_not_a_masked_one() -> None:
    own = {"a": torch.tensor([[0.0, 5.0, 0.0, 4.0]])}
    within = {"a": torch.tensor([[True, False, True, True]])}
    assert largest(own, 0.75, within)["a"].tolist() == [[True, False, True, True]], "5 is masked, the zeros are not"
    assert largest(own, 1.0, within)["a"].tolist() == [[True, False, True, True]]


@pytest.mark.parametrize("keep", [0.5, 0.07])
def test_each_layer_keeps_the_same_share_of_its_largest(keep: float) -> None:
    own = weights()
    for name, mask in largest_of_each(own, keep).items():
        values = np.sort(np.abs(own[name].numpy().ravel()))[::-1]
        count = max(1, round(keep * len(values)))
        assert np.array_equal(mask.numpy(), np.abs(own[name].numpy()) >= values[count - 1])


def test_random_masks_have_the_counts_and_no_preference() -> None:
    within = largest(weights(), 0.5)
    counts = {name: count // 2 for name, count in counts_of(within).items()}
    hits = {name: torch.zeros(mask.shape) for name, mask in within.items()}
    for seed in range(300):
        drawn = random_masks(counts, within, torch.Generator().manual_seed(seed))
        assert counts_of(drawn) == counts
        for name, mask in drawn.items():
            assert not bool((mask & ~within[name]).any())
            hits[name] += mask
    for name, mask in within.items():
        share = hits[name][mask] / 300
        expected = counts[name] / int(mask.sum())
        assert float((share - expected).abs().max()) < 0.16, "more than 5 standard errors off"
    with pytest.raises(UserError, match="cannot stay"):
        random_masks({name: mask.numel() for name, mask in within.items()}, within, torch.Generator())


def test_of_every_four_inputs_two_stay() -> None:
    own = weights()
    masks = two_of_four(own)
    assert bool(masks["a"].all()), "27 inputs are no multiple of four"
    for name in ("b", "c"):
        rows, values = masks[name].flatten(1).reshape(-1, 4), own[name].flatten(1).reshape(-1, 4).abs()
        assert bool((rows.sum(1) == 2).all())
        least, most = torch.where(rows, values, torch.inf).amin(1), torch.where(rows, -torch.inf, values).amax(1)
        assert bool((least >= most).all())
    assert kept({name: masks[name] for name in ("b", "c")}) == 0.5


def test_schedules_begin_and_end_where_they_should() -> None:
    shares = [of_round(0.1, number, 5) for number in range(6)]
    assert shares[0] == 1.0
    assert shares[-1] == 0.1
    assert np.allclose(np.diff(np.log(shares)), np.log(0.1) / 5), "each round takes the same share of what is left"
    course = [cubic(0.1, t) for t in np.linspace(0, 1, 50)]
    assert (course[0], course[-1]) == (1.0, pytest.approx(0.1))
    assert all(a > b for a, b in itertools.pairwise(course))
    assert cubic(0.1, 0.5) == pytest.approx(1 - 0.9 * (1 - 0.125))
