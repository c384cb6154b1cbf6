"""Self-tuning in a phase of a job: the loop of the function, what leaves the phase, and what it refuses."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn
from tuned_network import batch, network

import dnal
from dnal.base.errors import UserError
from dnal.methods import METHODS
from dnal.pipeline.plan import Asked, Plan
from dnal.settings import Training
from dnal.techniques import TECHNIQUES, self_tuning
from dnal.techniques.stn import SelfTuning, SelfTuningNetworks
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.dropout import probabilities, put_probabilities
from dnal.train.schedule import constant
from dnal.train.technique import Technique
from killer import Killed, Killer
from learned import check_same


def trained(net: nn.Module, *techniques: Technique, epochs: int = 3, val: Any = None) -> list[dict[str, Any]]:
    """The records of the epochs, of four steps each."""
    history: list[dict[str, Any]] = []
    around = Context(Fabric(accelerator="cpu", devices=1), [batch()] * 4, F.cross_entropy, history=history, val=val)
    phase = Phase(
        "base", epochs, 0.01, techniques=techniques, schedule=constant,
        optimizer=lambda one, lr: torch.optim.SGD(one.parameters(), lr, momentum=0.9),
    )  # fmt: skip
    torch.manual_seed(5)
    run_phase(phase, net, around)
    return history


BOTH = ("dropout", "input-noise")


def test_a_phase_is_the_loop_of_the_function() -> None:
    """Bit for bit, with the same seed and optimizer; and the layers that were there are there again."""
    net, val = network(), [batch(10)]
    modules, names = list(net.modules()), list(net.state_dict())
    history = trained(net, SelfTuningNetworks(tune=BOTH, warmup=1 / 3, rate=0.05), val=val)
    found = self_tuning(network(), BOTH, [batch()], val, 12, warmup=4, rate=0.05, seed=5)
    assert all(one is other for one, other in zip(net.modules(), modules, strict=True))
    assert list(net.state_dict()) == names
    assert all(torch.equal(value, found.network.state_dict()[name]) for name, value in net.state_dict().items())
    assert net[3].p == net[7].p == pytest.approx(found.values["dropout"])
    at = {row["step"]: row for row in found.schedule}
    for record, step in zip(history[1:], (8, 12), strict=True):
        assert {name: record[name] for name in BOTH} == {name: round(at[step][name], 6) for name in BOTH}
    assert history[0]["dropout"] == pytest.approx(0.05)
    assert abs(history[-1]["dropout"] - 0.05) > 1e-4


@pytest.mark.parametrize("others", [("ema:decay=0.5",), ("swa:start=0.2",), ("clipping:norm=0.1", "mixup")])
def test_beside_others_in_any_order(others: tuple[str, ...]) -> None:
    for first in (True, False):
        net, own = network(), SelfTuningNetworks(tune=BOTH, warmup=0.0)
        more = [TECHNIQUES.read(other) for other in others]
        trained(net, *([own, *more] if first else [*more, own]), val=[batch()])
        assert [type(module) for module in net.modules()] == [type(module) for module in network().modules()]
        assert list(net.state_dict()) == list(network().state_dict())
        assert all(bool(value.isfinite().all()) for value in net.state_dict().values())
        assert not torch.equal(net[0].weight, network()[0].weight)


def test_a_list_of_hyperparameters_is_read_and_others_are_refused() -> None:
    for text in ("dropout+input-noise", "dropout/input-noise"):
        own = TECHNIQUES.read(f"self-tuning:tune={text},every=3")
        assert own == SelfTuningNetworks(tune=BOTH, every=3)
        assert TECHNIQUES.read(TECHNIQUES.values(own)) == own
    for text, says in (
        ("lr", "Those of an optimizer, such as the learning rate, cannot be tuned so"),
        ("dropout+dropuot", "unknown hyperparameter 'dropuot'"),
        ("dropout+dropout", "each once"),
        ("", "a hyperparameter or more"),
    ):
        with pytest.raises(UserError, match=says):
            TECHNIQUES.read(f"self-tuning:tune={text}")


class Reading(nn.Module):
    """It computes with a layer's weights itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        said: Tensor = self.head(F.linear(x, self.layer.weight))
        return said


class Asking(nn.Module):
    """It asks a layer for what only a plain one has."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        said: Tensor = self.layer(x) / self.layer.in_features
        return said


@pytest.mark.parametrize(
    ("net", "tune", "inputs", "says"),
    [
        (nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), "input-noise", torch.randn(2, 4), "no layer of the network can"),
        (nn.Sequential(nn.Linear(4, 3)), "dropout", torch.randn(2, 4), "no nn.Dropout whose probability"),
        (nn.Linear(4, 3), "input-noise", torch.randn(2, 4), "a single layer"),
        (nn.Sequential(nn.Linear(4, 3)), "cutout", torch.randn(2, 4), "cutout is of images"),
        (nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3)), "jitter", torch.arange(2), "floating-point inputs"),
        (Reading(), "input-noise", torch.randn(2, 4), "let it call the layer instead"),
        (Asking(), "input-noise", torch.randn(2, 4), "does not run with layers that answer .*in_features"),
    ],
)
def test_a_network_that_it_cannot_act_on_is_refused_before_training(
    net: nn.Module, tune: str, inputs: Tensor, says: str
) -> None:
    before = [type(module) for module in net.modules()]
    with pytest.raises(UserError, match=says):
        SelfTuningNetworks(tune=(tune,)).check_network(net, inputs)
    assert [type(module) for module in net.modules()] == before


def test_what_tunes_nothing_warns() -> None:
    net = network()
    with pytest.warns(UserWarning, match="there are none in the phase 'base': they stay as they start"):
        history = trained(net, SelfTuningNetworks(tune=BOTH))
    assert {record["dropout"] for record in history} == {0.05}
    with pytest.warns(UserWarning, match="none of the 4 steps is followed by one"):
        trained(network(), SelfTuningNetworks(tune=BOTH, every=5, warmup=0.0), epochs=1, val=[batch()])
    with pytest.raises(UserError, match="validation data have no length"):
        trained(network(), SelfTuningNetworks(tune=BOTH), val=itertools.repeat(batch()))


def test_a_validation_batch_that_is_no_number_moves_nothing() -> None:
    x, y = batch()
    history = trained(network(), SelfTuningNetworks(tune=BOTH, warmup=0.0), val=[(x * torch.nan, y)])
    assert {record["dropout"] for record in history} == {0.05}


@pytest.mark.parametrize(
    ("method", "others", "says"),
    [
        ("dnal", ("guidance",), "at which 'guidance' looks"),
        ("dnal", ("nested-dropout",), "at which 'nested-dropout' looks"),
        ("dnal", ("weight-compander",), "'weight-compander' looks, or whose weights"),
        ("magnitude-masks", (), "the method 'magnitude-masks' holds some of their weights at zero"),
        ("magnitude-masks:reset=init", (), "the method 'magnitude-masks' holds some of their weights at zero"),
    ],
)
def test_what_looks_at_the_same_layers_is_refused(method: str, others: tuple[str, ...], says: str) -> None:
    for names in (("self-tuning", *others), (*others, "self-tuning")):
        techniques = tuple(map(TECHNIQUES.read, names))
        with pytest.raises(UserError, match=says):
            Plan.of(None, Asked(METHODS.read(method), techniques, training=Training(epochs=(2, 2, 2))))


def test_a_job_that_was_killed_drops_as_much_as_before(tmp_path: Path) -> None:
    """The gates are learnt with the base's tuned dropout, which no state_dict has."""

    def job(**more: Any) -> tuple[dnal.Learned, nn.Sequential]:
        data = dnal.data.loaders(dnal.data.load("digits", limit_train=96), 32)
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(288, 10)
        )
        found = dnal.learn(
            net, data.train, data.val, data.test, budget="macs<=60%", epochs=(2, 2, 1),
            techniques=["self-tuning:tune=dropout,rate=0.1"], **more,
        )  # fmt: skip
        return found, net

    whole, net = job()
    tuned = [record["dropout"] for record in whole.history if "dropout" in record]
    assert len(tuned) == 3  # base and retraining
    assert net[4].p == pytest.approx(tuned[1], abs=1e-6)
    assert whole.network[4].p == pytest.approx(tuned[2], abs=1e-6) != net[4].p
    with pytest.raises(Killed):
        job(checkpoints=Checkpoints(tmp_path, 1), listener=Killer(8))  # in the choice
    again, _ = job(checkpoints=tmp_path)
    check_same(again, whole)
    assert again.network[4].p == whole.network[4].p


def test_probabilities_are_put_back_where_they_were() -> None:
    net, other = network(), network()
    net[7].p = 0.25
    put_probabilities(other, probabilities(net))
    assert (other[3].p, other[7].p) == (0.5, 0.25)
    for wrong in ({"7": 1.5}, {"5": 0.5}, {"9": 0.5}, {"7": "much"}):
        with pytest.raises(ValueError, match="is no dropout of such a probability"):
            put_probabilities(other, wrong)  # type: ignore[arg-type]


class Sequences(nn.Module):
    """Of texts (N, L, 4), which it turns round for its own layers or not, or whose examples it mixes."""

    def __init__(self, order: str, *, drops: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.order, self.inner = order, nn.Dropout() if drops else nn.Linear(4, 4)
        self.drop, self.head = nn.Dropout(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "places first":
            found = self.inner(x.transpose(0, 1)).relu().mean(0)
        else:
            found = self.inner(x).relu().mean(1)
        if self.order == "mixing":
            found = found + found.mean(0)
        said: Tensor = self.head(self.drop(found))
        return said


@pytest.mark.parametrize("length", [6, 12])
@pytest.mark.parametrize("drops", [True, False])
def test_places_that_would_pass_for_examples_are_refused(length: int, drops: bool) -> None:
    data = torch.randn(6, length, 4), torch.arange(6) % 3
    with pytest.raises(UserError, match=r"in 'inner' the hyperparameters of one example .* \(L, N, ...\)"):
        SelfTuning(Sequences("places first", drops=drops), ["dropout"]).training_loss(data)
    few = (data[0][:2], data[1][:2])  # as a job tries it first
    with pytest.raises(UserError, match="in 'inner' the hyperparameters of one example"):
        SelfTuningNetworks(tune=("dropout",)).check_network(Sequences("places first", drops=drops), few[0])
    for order in ("examples first", "mixing"):
        tuning, before = SelfTuning(Sequences(order, drops=drops), ["dropout"]), torch.get_rng_state()
        state = {name: value.clone() for name, value in tuning.network.state_dict().items()}
        tuning.drawn(data[0])
        assert tuning.training_loss(data).isfinite()
        assert all(torch.equal(value, state[name]) for name, value in tuning.network.state_dict().items())
        torch.set_rng_state(before)
