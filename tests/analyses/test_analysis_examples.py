"""Flips, calibration, likeness, redundancy and people, against loops and independent references."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torchmetrics.classification import MulticlassCalibrationError

from dnal.analyses import (
    agreement,
    calibration_of,
    cka_matrix,
    confidences,
    disagreement,
    flips_of,
    in_the_lowest,
    people_of,
    rank_correlations,
    read_people,
    redundancy_of,
)
from dnal.base.errors import UserError
from dnal.techniques.guidance import linear_cka


def test_flips_by_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    base, compact, targets = torch.randint(4, (3, 500), generator=generator)
    found = flips_of(base, compact, targets)
    counted = dict.fromkeys(("fragile", "repaired", "right", "wrong"), 0)
    names = []
    for a, b, y in zip(base.tolist(), compact.tolist(), targets.tolist(), strict=True):
        name = {(True, False): "fragile", (False, True): "repaired", (True, True): "right", (False, False): "wrong"}
        names.append(name[a == y, b == y])
        counted[names[-1]] += 1
    assert found.counts() == counted
    assert found.names() == names
    assert int(found.any.sum()) == counted["fragile"] + counted["repaired"]
    margins = torch.randn(500, generator=generator)
    nearest = sorted(range(500), key=lambda n: abs(float(margins[n])))[:50]
    flipped = [n for n in range(500) if names[n] in ("fragile", "repaired")]
    assert in_the_lowest(margins, found.any) == pytest.approx(len(set(nearest) & set(flipped)) / len(flipped))
    with pytest.raises(UserError, match="same examples"):
        flips_of(base[1:], compact, targets)


@pytest.mark.parametrize("bins", [15, 10])
def test_ece_is_that_of_torchmetrics(bins: int) -> None:
    generator = torch.Generator().manual_seed(bins)
    logits = 2 * torch.randn(4000, 6, generator=generator)
    targets = torch.randint(6, (4000,), generator=generator)
    found = calibration_of(confidences(logits), logits.argmax(1) == targets, bins)
    meter = MulticlassCalibrationError(num_classes=6, n_bins=bins, norm="l1")
    assert found.ece == pytest.approx(float(meter(logits, targets)), abs=1e-6)
    assert int(found.counts.sum()) == 4000


def test_being_quite_sure_and_right_is_no_error() -> None:
    found = calibration_of(torch.ones(5), torch.ones(5, dtype=torch.bool))
    assert found.ece == 0
    assert int(found.counts[-1]) == 5


def test_likeness_is_that_of_the_references() -> None:
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(80, width, generator=generator).double() for width in (5, 9, 3)]
    matrix = cka_matrix(features)
    for i in range(3):
        for j in range(3):
            want = 1.0 if i == j else float(linear_cka(features[i], features[j], unbiased=True))
            assert float(matrix[i, j]) == pytest.approx(want)
    rows = torch.randint(9, (3, 60), generator=generator).double()  # with ties
    ranks = rank_correlations(rows)
    assert float(ranks[0, 1]) == pytest.approx(stats.spearmanr(rows[0], rows[1]).statistic)
    assert rank_correlations(torch.tensor([[1.0, 1.0], [1.0, 2.0]]))[0, 1].isnan()
    said = torch.tensor([[0, 1, 2, 2], [0, 1, 1, 1]])
    assert agreement(said).tolist() == [[1, 0.5], [0.5, 1]]
    margins = torch.randn(2, 4, 30, generator=generator)
    redundant = redundancy_of(margins)
    want = np.mean([stats.spearmanr(margins[m, 1], margins[m, 3]).statistic for m in range(2)])
    assert float(redundant[1, 3]) == pytest.approx(want)
    assert redundant.diagonal().tolist() == pytest.approx([1] * 4)


def test_people_who_disagree_where_networks_flip_are_found(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(400) % 10
    hard = torch.arange(400) < 100
    shares = torch.full((400, 10), 0.0)
    shares[torch.arange(400), targets] = 50
    shares[hard, (targets[hard] + 1) % 10] += torch.randint(10, 40, (100,), generator=generator)
    np.savez(tmp_path / "people.npz", cifar10h=shares.numpy(), other=np.zeros((3, 2)))
    labels = read_people(tmp_path / "people.npz", 400, 10)
    assert labels.equal(shares.double())
    compact = torch.where(hard, (targets + 1) % 10, targets)
    found = people_of(flips_of(targets, compact, targets), disagreement(labels))
    assert found.flips.value == 1
    assert found.means["right"] == 0
    assert found.means["fragile"] > 0.1
    for name, what in (("people.npz:other", "shape"), ("people.npz:none", "none"), ("gone.npz", "no file")):
        with pytest.raises(UserError, match=what):
            read_people(tmp_path / name, 400, 10)
    np.savez(tmp_path / "bad.npz", cifar10h=np.full((400, 10), -1.0))
    with pytest.raises(UserError, match="0 or more"):
        read_people(tmp_path / "bad.npz", 400, 10)
