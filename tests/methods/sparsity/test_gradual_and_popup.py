"""Gradual pruning and edge-popup: their course, their gradient, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dnal
from dnal.changes import Masks
from dnal.methods.sparsity.edge_popup import Scored
from dnal.methods.sparsity.masks import cubic
from dnal.train.resume.checkpoint import Checkpoints
from killer import Killed, Killer


def network() -> nn.Module:
    torch.manual_seed(0)
    return dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))


def job(method: str, own: nn.Module | None = None, **options: Any) -> dnal.Learned:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=100), 48)
    return dnal.sparsify(own or network(), data.train, data.val, data.val, method=method, **options)


def test_gradual_masks_follow_their_curve() -> None:
    learned = job("gradual:keep=20%,updates=4", epochs=(0, 2, 1))
    kept = [record["kept"] for record in learned.history]
    assert kept[:2] == [pytest.approx(cubic(0.2, t), abs=1e-4) for t in (0.5, 1.0)]
    assert kept[2] == pytest.approx(0.2, abs=1e-3)
    assert isinstance(learned.change, Masks)
    for name, mask in learned.change._left().items():
        assert not bool((learned.network.get_parameter(name)[~mask] != 0).any())


def test_scores_get_the_gradient_of_all_weights() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 4, bias=False), torch.randn(5, 6)
    scored = Scored(layer.weight.detach(), 0.25, torch.Generator().manual_seed(1))
    used = scored(layer.weight.detach())
    assert int((used != 0).sum()) == 6
    scores = scored.scores.detach().abs()
    assert float(scores[used != 0].min()) >= float(scores[used == 0].max())
    (nn.functional.linear(x, used) ** 2).sum().backward()
    of_effective = 2 * (x @ used.detach().T).T @ x
    of_scores = of_effective * layer.weight.detach() * scored.scores.detach().sign()  # scores count by absolute value
    assert scored.scores.grad is not None
    assert torch.allclose(scored.scores.grad, of_scores, atol=1e-5)


def test_edge_popup_trains_no_weight() -> None:
    learned = job("edge-popup:keep=50%", epochs=(1, 2, 0))
    assert isinstance(learned.change, Masks)
    expected = Masks(learned.change.masks, learned.change.shapes, learned.change.architecture).apply(network())
    for name, value in expected.named_parameters():  # the statistics of batch norms are those of the sub-networks
        assert torch.equal(value, learned.network.get_parameter(name))
    assert all(parameter.requires_grad for parameter in learned.network.parameters())
    for mask in learned.change.masks.values():
        assert int(mask.sum()) == round(0.5 * mask.numel())


def test_scores_learn_without_any_weight_moving() -> None:
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    learned = job("edge-popup:keep=50%", own=mlp, epochs=(0, 20, 0), optimizer="adamw", lr=0.02)
    assert learned.figures.compact.metric > 0.5, "10 % is chance"


@pytest.mark.slow
@pytest.mark.parametrize(("method", "at"), [("gradual:updates=3", 5), ("edge-popup", 3), ("edge-popup", 5)])
def test_killed_they_go_on_to_the_same_bytes(method: str, at: int, tmp_path: Path) -> None:
    whole = job(method, epochs=(1, 2, 1))
    with pytest.raises(Killed):
        job(method, checkpoints=Checkpoints(tmp_path, 1), listener=Killer(at), epochs=(1, 2, 1))
    again = job(method, checkpoints=Checkpoints(tmp_path, 1), epochs=(1, 2, 1)).network.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in whole.network.state_dict().items())


def test_layers_that_read_their_weights_in_a_way_of_their_own_are_refused() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.lstm(x.flatten(1, 2))[0][:, -1])

    with pytest.raises(dnal.UserError, match=r"scores on the weights of 'lstm' \(LSTM\)"):
        job("edge-popup", own=Net(), epochs=(1, 1, 1))


def test_what_they_do_not_have_is_said() -> None:
    with pytest.raises(dnal.UserError, match="'edge-popup' has no option 'rounds'"):
        job("edge-popup", rounds=3)
    with pytest.raises(dnal.UserError, match="'gradual-masks' has no option 'reset'"):
        job("gradual", reset="init")
