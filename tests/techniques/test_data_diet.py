"""Data diet: what is kept, that steps stay, and that mislabelled examples have the largest scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dnal.base.errors import UserError
from dnal.base.statistics import auroc
from dnal.techniques import TECHNIQUES
from dnal.techniques.data_diet import DataDiet, kept, scores_of
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.step import Step
from dnal.train.technique import Technique


def blobs(wrong: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Three clouds of 60 points, some of them mislabelled."""
    draw = np.random.default_rng(0)
    centres = np.eye(3, 6) * 4
    y = np.arange(180) % 3
    x = centres[y] + draw.normal(size=(180, 6))
    mislabelled = draw.random(180) < wrong
    y = np.where(mislabelled, (y + 1) % 3, y)
    return torch.tensor(x).float(), torch.tensor(y), torch.tensor(mislabelled)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def loader(wrong: float = 0.0, batch: int = 12) -> DataLoader[Any]:
    x, y, _ = blobs(wrong)
    return DataLoader(TensorDataset(x, y), batch, shuffle=True, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("score", ["el2n", "grand", "forgetting"])
def test_mislabelled_examples_have_the_largest_scores(score: Any) -> None:
    net, given = network(), loader(0.1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    scores = scores_of(net, given, score, epochs=6, networks=2, lr=0.05)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    finite = scores.nan_to_num(posinf=1e3)
    assert auroc(finite.tolist(), blobs(0.1)[2].tolist()).value > (0.85 if score == "forgetting" else 0.97)
    assert torch.equal(scores, scores_of(net, given, score, epochs=6, networks=2, lr=0.05)), "the same every time"


def test_what_is_kept_is_a_window_below_the_top() -> None:
    scores = torch.tensor([0.1, 5.0, 3.0, math.inf, 3.0])
    assert kept(scores, 2).tolist() == [3, 1]
    assert kept(scores, 2, skip=1).tolist() == [1, 2]
    assert kept(scores, 3, skip=4).tolist() == [2, 4, 0]


class Seen(Technique):
    def __init__(self) -> None:
        self.targets: list[Tensor] = []
        self.inputs: list[Tensor] = []

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        self.inputs.append(batch[0])
        return value


@pytest.mark.parametrize("same_steps", [True, False])
def test_training_sees_what_is_kept_and_as_many_steps(same_steps: bool) -> None:
    diet = DataDiet(keep=0.25, epochs=2, networks=1, same_steps=same_steps)
    diary, given, history = Seen(), loader(), []
    context = Context(Fabric(accelerator="cpu", devices=1), given, F.cross_entropy, history=history)
    run_phase(Phase("base", 2, 0.05, techniques=(diet,)), network(), context, hooks=[diary])
    assert len(diary.inputs) == 2 * (15 if same_steps else 4)
    rows, counts = torch.cat(diary.inputs).unique(dim=0, return_counts=True)
    assert len(rows) == 45
    assert set(counts.tolist()) == ({8} if same_steps else {2})
    hardest = kept(scores_of(network(), loader(), "el2n", epochs=2, networks=1), 45)
    assert torch.equal(rows, blobs()[0][hardest].unique(dim=0))
    assert history[-1]["scored_samples"] == 3 * 180


def test_keeping_everything_warns() -> None:
    context = Context(Fabric(accelerator="cpu", devices=1), loader(), F.cross_entropy)
    with pytest.warns(UserWarning, match="changes nothing"):
        run_phase(Phase("base", 1, 0.05, techniques=(DataDiet(keep=1.0),)), network(), context)


def test_data_that_cannot_be_scored_are_one_sentence() -> None:
    dense = [(torch.randn(4, 6), torch.randint(3, (4,)))]
    with pytest.raises(UserError, match="by their numbers"):
        scores_of(network(), dense)
    x = torch.randn(40, 6)
    regression = DataLoader(TensorDataset(x, x[:, :3]), 8, shuffle=True)
    with pytest.raises(UserError, match="logits"):
        scores_of(network(), regression, epochs=1, networks=1, loss=F.mse_loss)
    assert TECHNIQUES.read("data-diet:score=random").score == "random"


def test_what_cannot_be_scored_or_kept() -> None:
    x, y, _ = blobs()
    loader = DataLoader(TensorDataset(x, y), 30, shuffle=True)
    with pytest.raises(UserError, match="scored by el2n, grand, forgetting, random, not by 'bogus'"):
        scores_of(nn.Linear(6, 3), loader, "bogus")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="one network or more"):
        scores_of(nn.Linear(6, 3), loader, networks=0)
    with pytest.raises(UserError, match=r"keep=0.8 and skip=0.3 is more than there is"):
        DataDiet(keep=0.8, skip=0.3)
