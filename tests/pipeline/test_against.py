"""A method and those that it is compared with: one base, equally many samples, and each the job that it is alone."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.base.errors import UserError
from dnal.methods import METHODS
from dnal.methods.uniform import Uniform
from dnal.pipeline.against import Wanted, compared, folder_of, names_of
from dnal.pipeline.asked import asked_of
from dnal.pipeline.plan import Plan
from dnal.train.listener import Listener
from dnal.train.loop import Diverged
from killer import Killed, Killer
from learned import check_same

EPOCHS = (2, 1, 2)
STEPS = 3
"""An epoch."""
NAMES = ("uniform", "scratch", "taylor:batches=1", "slimming")
SPECS = "uniform,scratch,taylor:batches=1,slimming"


def loaders(*, shuffled: bool = False) -> tuple[Any, Any, Any]:
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(48, 1, 8, 8, generator=generator), torch.arange(48) % 4
    images[:, 0, 0, 0] += labels  # something to learn
    train = DataLoader(TensorDataset(images, labels), 16, shuffle=True, generator=generator)
    held_out = TensorDataset(images[:20], labels[:20])
    return train, DataLoader(held_out, 8), DataLoader(held_out, 8, shuffle=shuffled)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
    )  # fmt: skip


def job(**options: Any) -> dnal.Learned:
    return dnal.learn(network(), *loaders(), **{"budget": "macs<=40%", "epochs": EPOCHS, "lr": 0.05, **options})


@pytest.fixture(scope="module")
def learned() -> dnal.Learned:
    return job(against=SPECS)


def test_each_is_the_job_that_it_is_alone(learned: dnal.Learned) -> None:
    assert tuple(learned.against) == NAMES
    check_same(learned, job())
    alone = {
        "uniform": {}, "taylor:batches=1": {}, "slimming": {},
        "scratch": {"method": "uniform", "reinitialize": True, "epochs": (2, 0, 5)},
    }  # fmt: skip
    for name, other in learned.against.items():
        single = job(**{"method": name, **alone[name]})
        check_same(other, single)
        assert {**other.settings, "prune_blocks": None} == {**single.settings, "prune_blocks": None}
        assert all(row["holds"] for row in other.constraints)


def test_all_see_equally_many_samples(learned: dnal.Learned) -> None:
    for name, other in {"dnal": learned, **learned.against}.items():
        base, *later = other.settings["epochs"]
        own = 0 if name == "scratch" else base
        assert own + sum(later) == sum(EPOCHS), name
        assert [record["phase"] for record in other.history].count("base") == base == EPOCHS[0]
        assert other.settings["techniques"] == learned.settings["techniques"]
    assert learned.settings["against"] == list(NAMES)
    assert all(other.settings["against"] == [] for other in learned.against.values())


def test_how_far_it_is_ahead_has_an_interval_over_the_test_examples(learned: dnal.Learned) -> None:
    for other in learned.against.values():
        found = learned.ahead_of(other)
        assert found is not None
        gap = learned.figures.compact.metric - other.figures.compact.metric
        assert (found.number, found.value) == (20, pytest.approx(gap, abs=1e-6))
        assert found.low <= found.value <= found.high


def test_there_is_no_interval_where_the_test_data_come_in_another_order_or_the_metric_is_another_one() -> None:
    found = dnal.learn(network(), *loaders(shuffled=True), "macs<=40%", epochs=(0, 1, 0), against=["uniform"])
    assert found.ahead_of(found.against["uniform"]) is None
    found = job(epochs=(0, 1, 0), against=["uniform"], metric=lambda network, loader: 0.5)
    assert found.ahead_of(found.against["uniform"]) is None


@pytest.mark.parametrize("at", [*(pytest.param(at, marks=pytest.mark.slow) for at in (2, 13, 26)), 7, 19, 40])
def test_killed_in_the_middle_of_any_of_them(at: int, learned: dnal.Learned, tmp_path: Path) -> None:
    killer = Killer(at)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dnal.pipeline.learn.Listener", lambda: killer)  # that of each method
        with pytest.raises(Killed):
            job(against=SPECS, checkpoints=tmp_path, listener=killer)
    again = job(against=SPECS, checkpoints=tmp_path)
    check_same(again, learned)
    for name, other in again.against.items():
        check_same(other, learned.against[name])


def test_the_epochs_of_a_method_that_trains_are_those_it_is_made_for_unless_they_were_given() -> None:
    def epochs(**training: Any) -> dict[str, tuple[int, int, int]]:
        wanted = compared(Wanted("macs<=30%", asked_of(against=["tas", "uniform", "scratch"], **training)))
        found = {one.rival or "dnal": Plan.of(one.budget, one.asked).asked.training.epochs for one in wanted}
        return {name: value for name, value in found.items() if isinstance(value, tuple)}

    assert epochs() == {"dnal": (40, 4, 56), "tas": (40, 20, 40), "uniform": (40, 0, 60), "scratch": (40, 0, 100)}
    assert epochs(epochs=(4, 1, 5)) == {
        "dnal": (4, 1, 5),
        "tas": (4, 1, 5),
        "uniform": (4, 0, 6),
        "scratch": (4, 0, 10),
    }
    trained = epochs(base_is_trained=True, method="dnal")  # its own samples are not of this job
    assert trained == {"dnal": (0, 4, 56), "tas": (0, 20, 40), "uniform": (0, 0, 60), "scratch": (0, 0, 60)}


def test_techniques_and_teacher_are_those_of_the_method() -> None:
    def techniques(**asked: Any) -> list[list[str]]:
        wanted = compared(Wanted("macs<=30%", asked_of(**asked)))
        return [[one["name"] for one in Plan.of(w.budget, w.asked).settings()["techniques"]] for w in wanted]

    assert techniques(against=["paper", "uniform"]) == 3 * [["distillation"]]
    assert techniques(method="paper", against=["dnal", "scratch"]) == 3 * [[]]
    assert techniques(without=["distillation"], techniques=["ema"], against=["uniform"]) == 2 * [["ema"]]
    assert techniques(loss=nn.functional.cross_entropy, against=["uniform"]) == 2 * [[]]


@pytest.mark.parametrize(
    ("against", "options", "said"),
    [
        (["unifrom"], {}, "did you mean 'uniform'"),
        (["scrach"], {}, "did you mean 'scratch'"),
        (["uniform,uniform"], {}, "'uniform' was given twice"),
        (["taylor:batches=1", "taylor:batches=1"], {}, "was given twice"),
        (["dnal"], {}, "'dnal' is the method itself"),
        (["scratch:x=1"], {}, "'scratch' has no options"),
        (["taylor:batch=1"], {}, "has no option 'batch'"),
        (["uniform"], {"method": "magnitude-masks"}, "methods are compared under one budget; the method"),
        (["uniform"], {"method": "paper", "budget": None}, "methods are compared under one budget; give one"),
        (["scratch"], {"schedule_over": "job"}, "'scratch', to compare with: schedule_over is 'phase'"),
        ([3], {}, "a method is a name"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(against: list[Any], options: dict[str, Any], said: str) -> None:
    if options.get("method") == "magnitude-masks":
        options = {**options, "budget": None, "epochs": (2, 2, 2)}
    with pytest.raises(UserError, match=said):
        job(against=against, **options)


def test_a_trade_off_compares_nothing_and_says_so() -> None:
    with pytest.raises(UserError, match="give it to learn"):
        dnal.trade_off(network(), *loaders(), ["macs<=40%"], epochs=EPOCHS, against=["uniform"])  # type: ignore[call-arg]


SCRATCH_ALONE = "acts while the base is trained, and 'scratch' takes nothing of the base"


@pytest.mark.parametrize("technique", ["data-diet", "nio"])
def test_what_acts_in_the_base_alone_and_not_from_scratch_is_said(technique: str) -> None:
    def told(**asked: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            compared(Wanted("macs<=30%", asked_of(epochs=EPOCHS, **asked)))
        return [str(one.message) for one in found if SCRATCH_ALONE in str(one.message)]

    (said,) = told(techniques=[technique], against=["uniform", "scratch"])
    assert said.startswith(f"the technique '{technique}' ")
    assert not told(techniques=[technique], against=["uniform"])
    assert not told(techniques=["ema"], against=["scratch"])
    assert not told(techniques=[technique], against=["scratch"], base_is_trained=True)


def test_a_method_that_takes_no_budget_is_left_out() -> None:
    with pytest.warns(
        UserWarning, match="'net2wider' takes no budget, so that it cannot reach macs<=40%: it is left out"
    ):
        found = job(epochs=(0, 1, 0), against=["net2wider", "uniform"])
    assert tuple(found.against) == ("uniform",)
    assert found.settings["against"] == ["uniform"]


@dataclasses.dataclass(frozen=True)
class Failing(Uniform):
    """Finds nothing."""

    def choose(self, task: Any) -> Any:
        raise UserError("no width will do.")


@dataclasses.dataclass(frozen=True)
class Diverging(Uniform):
    """Its weights explode."""

    def choose(self, task: Any) -> Any:
        raise Diverged("the loss is nan in epoch 1")


@pytest.mark.parametrize(("kind", "said"), [(Failing, "no width will do"), (Diverging, "the loss is nan")])
def test_one_that_fails_is_left_out_and_the_others_stay(
    kind: type[Uniform], said: str, learned: dnal.Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS._ours, "fails", f"{__name__}:{kind.__name__}")
    with pytest.warns(UserWarning, match=f"'fails' is left out of the comparison: {said}"):
        found = job(against=["fails", "scratch"])
    assert tuple(found.against) == ("scratch",)
    check_same(found.against["scratch"], learned.against["scratch"])
    with pytest.raises(UserError, match=said):  # the method itself is not left out
        job(method="fails", against=["uniform"])


def test_a_warning_points_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._ours, "fails", f"{__name__}:Failing")
    train, val, _ = loaders()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        dnal.learn(network(), train, val, budget="macs<=40%", epochs=(0, 1, 0), against=["fails"])
    for said in ("there are no test data", "'fails' is left out"):
        (own,) = (each for each in seen if said in str(each.message))
        assert own.filename == __file__


def test_every_listener_hears_of_the_method_alone() -> None:
    heard: list[str] = []

    class Diary(Listener):
        def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
            heard.append(name)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        job(epochs=(1, 1, 1), against=["uniform"], listener=Diary())
    assert heard == ["base", "architecture", "retrain"]


def test_names_are_told_apart() -> None:
    assert names_of(["uniform , scratch"]) == ("uniform", "scratch")
    assert names_of([Uniform(), "tas:tau_start=4,tau_end=1,scratch"]) == (
        "uniform", "tas:tau_start=4.0,tau_end=1.0", "scratch",
    )  # fmt: skip
    assert folder_of("../../etc") == "etc"
    assert "/" not in folder_of("a/b\\c:d")
