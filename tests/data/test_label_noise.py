"""Wrong labels on purpose: how many, which, and the same again by the same seed."""

from __future__ import annotations

import pytest
import torch

from dnal.base.errors import UserError
from dnal.data.noise import CIFAR10_PAIRS, asymmetric_noise, symmetric_noise

LABELS = torch.arange(10).repeat(1000)


def test_symmetric_noise_is_uniform_over_all_classes() -> None:
    before = torch.get_rng_state()
    found = symmetric_noise(LABELS, 0.4, 10, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    wrong = found != LABELS
    assert float(wrong.double().mean()) == pytest.approx(0.4 * 9 / 10, abs=0.01)
    table = torch.bincount(10 * LABELS[wrong] + found[wrong], minlength=100).view(10, 10)
    assert not table.diagonal().any()
    apart = table[~torch.eye(10).bool()].double()
    assert float(((apart - apart.mean()) ** 2 / apart.mean()).sum()) < 150, "chi squared of 89"
    assert torch.equal(found, symmetric_noise(LABELS, 0.4, 10, seed=3))
    assert not torch.equal(found, symmetric_noise(LABELS, 0.4, 10, seed=4))
    assert torch.equal(symmetric_noise(LABELS, 0.0, 10), LABELS)


def test_asymmetric_noise_moves_a_share_of_each_class_to_its_partner() -> None:
    found = asymmetric_noise(LABELS, 0.3, seed=1)
    for own in range(10):
        said = torch.bincount(found[own == LABELS], minlength=10)
        expected = torch.zeros(10, dtype=torch.long)
        expected[own] = 1000
        if own in CIFAR10_PAIRS:
            expected[own], expected[CIFAR10_PAIRS[own]] = 700, 300
        assert said.tolist() == expected.tolist()
    assert torch.equal(asymmetric_noise(LABELS, 1.0, {3: 5, 5: 3}) == 5, LABELS == 3), "cat <-> dog"


def test_what_is_no_share_or_no_label_is_refused() -> None:
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(UserError, match="from 0 to 1"):
            symmetric_noise(LABELS, share, 10)
        with pytest.raises(UserError, match="from 0 to 1"):
            asymmetric_noise(LABELS, share)
    with pytest.raises(UserError, match="whole numbers"):
        symmetric_noise(LABELS.double(), 0.1, 10)
    with pytest.raises(UserError, match="classes go from"):
        symmetric_noise(LABELS, 0.1, 9)
