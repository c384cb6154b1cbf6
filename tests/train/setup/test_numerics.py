import copy
import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from dnal.base.errors import UserError
from dnal.train.setup.numerics import fastest_numerics, precision_of, workable

CANDIDATES = [("32-true", "channels_last"), ("32-true", "contiguous"), ("bf16-mixed", "channels_last")]


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.LazyLinear(4))


class Viewing(nn.Module):
    """The classic one: ``view`` after a convolution; ``only`` in training or eval mode, as an auxiliary head."""

    def __init__(self, only: bool | None = None) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout())
        self.head, self.only = nn.Linear(8 * 36, 4), only

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.head(x.view(len(x), -1) if self.only in (None, self.training) else x.flatten(1))


@pytest.mark.parametrize("only", [None, True, False])
def test_a_network_with_a_view_is_contiguous_and_as_it_was(only: bool | None) -> None:
    model, x, y = Viewing(only), torch.rand(2, 3, 8, 8), torch.arange(2)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert workable("auto", model, x, y, F.cross_entropy) == "contiguous"
    assert workable("contiguous", model, x, y, F.cross_entropy) == "contiguous"
    with pytest.raises(UserError, match="reshape or flatten"):
        workable("channels_last", model, x, y, F.cross_entropy)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


class Centre(nn.Module):
    """A loss with a parameter and a statistic."""

    def __init__(self) -> None:
        super().__init__()
        self.centre, self.seen = nn.Parameter(torch.zeros(4)), 0

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.seen += 1
        random.random()
        return (outputs - self.centre).square().mean()


def test_an_order_that_works_is_left_open_and_the_loss_as_it_was() -> None:
    model, x, y, loss = network(), torch.rand(2, 3, 12, 12), torch.arange(2), Centre()
    model(x)
    assert workable("auto", model, x, y, loss) == "auto"
    assert workable("channels_last", model, x, y, loss) == "channels_last"
    assert workable("auto", model, x, y, lambda outputs, targets: loss(outputs, targets)) == "auto"
    assert loss.centre.grad is None
    assert loss.seen == 1, "only the one that a function hides was asked"


def test_what_fails_in_both_orders_says_nothing_of_them() -> None:
    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        raise ValueError("not on two examples")

    model, x, y = network(), torch.rand(2, 3, 12, 12), torch.arange(2)
    model(x)
    assert workable("auto", model, x, y, broken) == "auto"
    assert workable("auto", Viewing(), torch.rand(2, 3, 8, 8), y, broken) == "contiguous"


def test_the_loss_may_have_the_view() -> None:
    def viewing(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.view(len(outputs), -1).mean()

    x = torch.rand(2, 3, 8, 8)
    assert workable("auto", nn.Conv2d(3, 4, 3), x, None, viewing) == "contiguous"


def test_the_default_job_trains_a_network_with_a_view() -> None:
    batches = [(torch.rand(4, 3, 8, 8), torch.arange(4))]
    learned = dnal.learn(Viewing(), batches, batches, budget="macs<=60%", epochs=(1, 1, 1))
    assert learned.settings["memory_format"] == "contiguous"
    with pytest.raises(UserError, match=r"'channels_last'.*reshape or flatten"):
        dnal.learn(Viewing(), batches, batches, epochs=(1, 1, 1), numerics="memory_format=channels_last")


def test_it_answers_with_a_candidate_and_leaves_everything_as_it_was() -> None:
    model, x, y = network(), torch.rand(8, 3, 12, 12), torch.arange(8) % 4
    model(x)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    loss, own = Centre(), random.getstate()
    assert fastest_numerics(model, x, y, loss, CANDIDATES) in CANDIDATES
    assert (loss.seen, loss.centre.grad, random.getstate()) == (0, None, own)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_candidate_that_cannot_run_is_left_out() -> None:
    model, x, y = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), torch.rand(2, 3, 4, 4), torch.rand(2, 16)

    def picky(outputs: Tensor, targets: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu") or outputs.dtype != torch.float32:
            raise RuntimeError("not for this type")
        return F.mse_loss(outputs, targets)

    assert fastest_numerics(model, x, y, picky, [CANDIDATES[0], CANDIDATES[2]]) == CANDIDATES[0]


def test_the_usual_one_stays_unless_another_is_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnal.train.setup.numerics.MARGIN", 1e9)
    model, x, y = network(), torch.rand(8, 3, 12, 12), torch.arange(8) % 4
    model(x)
    assert fastest_numerics(model, x, y, F.cross_entropy, CANDIDATES) == CANDIDATES[0]


def test_short_steps_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("it was timed")

    monkeypatch.setattr("dnal.train.setup.numerics.fastest_numerics", refused)
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=100), 32)
    model = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    learned = dnal.learn(model, data.train, data.val, epochs=(1, 1, 1))
    usual = (precision_of("auto"), "channels_last")
    assert (learned.settings["precision"], learned.settings["memory_format"]) == usual
    if usual[0] != "32-true":
        return  # a GPU, where nothing is timed
    monkeypatch.setattr("dnal.train.setup.numerics.LONG", 0)
    with pytest.raises(AssertionError, match="timed"):
        dnal.learn(model, data.train, data.val, epochs=(1, 1, 1))
    dnal.learn(model, data.train, data.val, epochs=(1, 1, 1), numerics="precision=32-true,memory_format=contiguous")
