import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from dnal.train.arrangement import fastest_arrangement, precision_of

CANDIDATES = [("32-true", "channels_last"), ("32-true", "contiguous"), ("bf16-mixed", "channels_last")]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.LazyLinear(4))


def test_it_answers_with_a_candidate_and_leaves_everything_as_it_was() -> None:
    model, x, y = network(), torch.rand(8, 3, 12, 12), torch.arange(8) % 4
    model(x)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert fastest_arrangement(model, x, y, F.cross_entropy, CANDIDATES) in CANDIDATES
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_candidate_that_cannot_run_is_left_out() -> None:
    model, x, y = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), torch.rand(2, 3, 4, 4), torch.rand(2, 16)

    def picky(outputs: Tensor, targets: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu") or outputs.dtype != torch.float32:
            raise RuntimeError("not for this type")
        return F.mse_loss(outputs, targets)

    assert fastest_arrangement(model, x, y, picky, [CANDIDATES[0], CANDIDATES[2]]) == CANDIDATES[0]


def test_the_usual_one_stays_unless_another_is_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnal.train.arrangement.MARGIN", 1e9)
    model, x, y = network(), torch.rand(8, 3, 12, 12), torch.arange(8) % 4
    model(x)
    assert fastest_arrangement(model, x, y, F.cross_entropy, CANDIDATES) == CANDIDATES[0]


def test_short_steps_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("it was timed")

    monkeypatch.setattr("dnal.train.arrangement.fastest_arrangement", refused)
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=100), 32)
    model = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    learned = dnal.learn(model, data.train, data.val, epochs=(1, 1, 1))
    usual = (precision_of("auto"), "channels_last")
    assert (learned.settings["precision"], learned.settings["memory_format"]) == usual
    if usual[0] != "32-true":
        return  # a GPU, where nothing is timed
    monkeypatch.setattr("dnal.train.arrangement.LONG", 0)
    with pytest.raises(AssertionError, match="timed"):
        dnal.learn(model, data.train, data.val, epochs=(1, 1, 1))
    dnal.learn(model, data.train, data.val, epochs=(1, 1, 1), precision="32-true", memory_format="contiguous")
