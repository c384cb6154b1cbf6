"""Several budgets from one base, and budgets on memory and measured latency, on real digits with few epochs."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal import data
from dnal.base.errors import UserError
from dnal.pipeline.result import Learned
from dnal.train.listener import Listener

pytestmark = pytest.mark.usefixtures("own_cache")

SHAPE = (1, 8, 8)
BUDGETS = ("macs<=60%", "macs<=25%,params<=40%", "params<=20%")
ON_CPU: dict[str, Any] = {"deployment": "deploy_batch_size=16,backend=torch-cpu"}
"""Where it will run; what trains may be a GPU."""


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(4),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def wide_network() -> nn.Module:
    """One whose latency depends on its widths, not only on the number of its calls."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1),
        nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def own_loaders() -> tuple[Any, Any, Any]:
    return tuple(data.loaders(data.load("digits", limit_train=300), 64, seed=3))  # type: ignore[return-value]


def plain_loaders() -> tuple[Any, Any, Any]:
    """A user's loaders: one that draws from the global random state, one with a generator of its own."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(200, *SHAPE, generator=generator), torch.arange(200) % 10
    images = TensorDataset(x, y)
    return (
        DataLoader(images, 32, shuffle=True),
        DataLoader(images, 32, shuffle=True, generator=torch.Generator().manual_seed(2)),
        DataLoader(images, 32),
    )


def same(one: Learned, other: Learned) -> bool:
    ours, theirs = one.network.state_dict(), other.network.state_dict()
    return (
        torch.equal(one.architecture.open, other.architecture.open)
        and ours.keys() == theirs.keys()
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
    )


@pytest.mark.parametrize(
    ("loaders", "options"),
    [
        (own_loaders, {}),
        (plain_loaders, {}),
        (own_loaders, {"method": "dnal:held_out=true", "without": ["distillation"]}),
        (plain_loaders, {"method": "paper:penalty=0.0001"}),
        (own_loaders, {"base_is_trained": True}),
    ],
    ids=["own loaders", "plain loaders", "alternating", "paper", "trained base"],
)
def test_each_run_of_a_trade_off_is_the_single_run_with_its_budget(loaders: Any, options: dict[str, Any]) -> None:
    common = {"epochs": (1, 2, 1), "seed": 5, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the paper's method says that it cuts to the budget
        together = dnal.trade_off(small_network(), *loaders(), budgets=BUDGETS, **common)
        alone = [dnal.learn(small_network(), *loaders(), budget=budget, **common) for budget in BUDGETS]
    assert [learned.settings["budget"] for learned in together] == list(BUDGETS)
    for one, other in zip(together, alone, strict=True):
        assert same(one, other)
        assert one.settings == other.settings
        assert one.constraints == other.constraints
    if "paper" not in options.get("method", ""):  # whose lambda may leave less than any budget asks
        assert not same(together[0], together[-1])


class Diary(Listener):
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def space(self, space: dnal.Space, ranges: list[dict[str, Any]]) -> None:
        self.ranges = ranges

    def start(self, settings: dict[str, Any]) -> None:
        self.heard.append(settings["budget"])

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        self.heard.append(name)

    def finish(self, learned: Learned) -> None:
        self.heard.append(learned.settings["budget"])


def test_every_listener_hears_of_its_own_run_and_of_the_base() -> None:
    diaries = [Diary(), Diary()]
    learned = dnal.trade_off(
        small_network(), *own_loaders(), budgets=["macs<=50%", "params<=30%"], epochs=(1, 1, 1), listeners=diaries
    )
    for diary, budget in zip(diaries, ("macs<=50%", "params<=30%"), strict=True):
        assert diary.heard == [budget, "base", "architecture", "retrain", budget]
    assert [[r["phase"] for r in each.history] for each in learned] == 2 * [["base", "architecture", "retrain"]]
    full = learned[0].space.full_cost
    ranges = {r["cost"]: r for r in diaries[0].ranges}
    assert ranges == {r["cost"]: r for r in diaries[1].ranges}
    assert ranges["macs"]["asked"] == [0.5 * full["macs"], None]
    assert ranges["params"]["asked"] == [None, 0.3 * full["params"]]
    assert all(r["base"] == full[cost] and 0 < r["least"] < r["base"] for cost, r in ranges.items())


@pytest.mark.parametrize(
    ("budgets", "options", "sentence"),
    [
        ([], {}, "at least one budget"),
        (["macs<=50%", "macs<=0.01%"], {}, "below the least possible"),
        (["macs<=50%", "small"], {}, "is no budget"),
        (["macs<=50%", "params<=30%", "macs <= 50 %"], {}, "given twice"),
        (["macs<=50%,params<=30%", "params<=30%,macs<=50%"], {}, "given twice"),
        (["macs<=50%", "macs<=20%"], {"listeners": [Diary()]}, "one listener per budget"),
        (["macs<=50%"], {"widths": "min_width=0"}, "min_width"),
        (["macs<=50%"], {"widths": "divisor=0"}, "divisor"),
        (["macs<=50%"], {"deployment": "deploy_batch_size=0"}, "1 or more"),
        (["macs<=50%"], {"deployment": "backend=tpu"}, "unknown backend 'tpu'"),
        (["macs<=20%"], {"widths": "min_width=0.9"}, "below the least possible"),
    ],
)
def test_all_is_checked_before_anything_is_trained(budgets: list[str], options: dict[str, Any], sentence: str) -> None:
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(UserError, match=sentence):
        dnal.trade_off(network, *own_loaders(), budgets=budgets, epochs=(1, 1, 1), **options)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("method", ["dnal", "paper"])
def test_widths_are_kept_and_so_is_the_budget(method: str) -> None:
    diary = Diary()
    learned = dnal.learn(
        small_network(), *own_loaders(), budget="macs<=60%" if method == "dnal" else None, method=method,
        epochs=(1, 1, 1), widths="min_width=3,divisor=4", listener=diary,
    )  # fmt: skip
    widths = [m.out_channels for m in learned.network.modules() if isinstance(m, nn.Conv2d)]
    assert all(width % 4 == 0 for width in widths), widths
    assert all(row["holds"] for row in learned.constraints)
    assert next(r for r in diary.ranges if r["cost"] == "macs")["least"] == dnal.macs(
        dnal.compact(small_network(), _first(learned.space, 4)), torch.zeros(1, *SHAPE)
    )


def _first(space: dnal.Space, width: int) -> dnal.Architecture:
    opened = torch.zeros(space.num_gates, dtype=torch.bool)
    for group in space.groups:
        opened[group.variables[:width]] = True
    return dnal.Architecture.of(space, opened)


@pytest.mark.filterwarnings("ignore:the budget latency")  # a busy machine may miss it
def test_memory_and_latency_are_stated_at_the_batch_and_counted_on_the_result() -> None:
    from dnal.costs.memory import peak_memory

    learned = dnal.learn(
        wide_network(), *own_loaders(), budget="memory<=60%,latency<=90%,macs<=60%", epochs=(1, 1, 1), **ON_CPU
    )
    rows = {row["cost"]: row for row in learned.constraints}
    assert list(rows) == ["memory", "latency", "macs"]
    counted = peak_memory(learned.network, torch.zeros(16, *SHAPE))
    assert rows["memory"]["got"] == learned.figures.compact.memory == counted
    assert rows["memory"]["asked"] == pytest.approx(0.6 * learned.figures.base.memory)
    assert rows["latency"]["got"] == learned.figures.compact.latency_ms
    assert rows["latency"]["asked"] == pytest.approx(0.9 * learned.figures.base.latency_ms)
    assert rows["latency"]["predicted"] <= 0.9 * learned.space.full_cost["latency"]
    assert rows["memory"]["holds"]
    assert rows["macs"]["holds"]
    assert (learned.settings["deploy_batch_size"], learned.settings["backend"]) == (16, "torch-cpu")


def test_a_latency_that_was_missed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnal.latency.measured_ms", lambda networks, example, backend: [1.0, 1000.0])
    with pytest.warns(UserWarning, match="does not hold: 1000 was measured"):
        learned = dnal.learn(wide_network(), *own_loaders(), budget="latency<=90%", epochs=(1, 1, 1), **ON_CPU)
    assert not learned.constraints[0]["holds"]


def test_a_measurement_may_miss_by_five_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnal.latency.measured_ms", lambda networks, example, backend: [1.0, 0.94])
    learned = dnal.learn(wide_network(), *own_loaders(), budget="latency<=90%", epochs=(1, 1, 1), **ON_CPU)
    assert learned.constraints[0]["got"] > learned.constraints[0]["asked"]
    assert learned.constraints[0]["holds"]


def test_a_known_latency_model_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dnal import latency

    network = wide_network()
    example = torch.rand(2, *SHAPE)
    model = latency.profile(network, dnal.Space.of(network, example), example, batch=16, cache=False)
    model.save(tmp_path / "latency.json")
    monkeypatch.setattr("dnal.latency.profile", None)
    common: dict[str, Any] = {"budget": "latency<=90%", "epochs": (1, 1, 1), **ON_CPU}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether the measurement holds is not the question here
        learned = [
            dnal.learn(wide_network(), *own_loaders(), latency=known, **common)
            for known in (model, tmp_path / "latency.json")
        ]
    assert same(*learned)
    with pytest.raises(UserError, match="at a batch of 16, but the budget is stated on torch-cpu at a batch of 1"):
        dnal.learn(wide_network(), *own_loaders(), latency=model, budget="latency<=90%", deployment="backend=torch-cpu")


def test_the_multiple_is_decided_by_timing_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fastest(*arguments: Any, **keywords: Any) -> int:
        asked.append(keywords)
        return 4

    class Profiled(Exception):
        """What is timed after that is no matter here."""

    def profile(*arguments: Any, **keywords: Any) -> None:
        asked.append(keywords)
        raise Profiled

    monkeypatch.setattr("dnal.latency.fastest_multiple", fastest)
    monkeypatch.setattr("dnal.latency.profile", profile)
    for budgets in (["latency<=70%,macs<=70%", "latency<=60%,macs<=40%"], ["latency<=60%,macs<=30%"]):
        with pytest.raises(Profiled):
            dnal.trade_off(
                small_network(), *own_loaders(), budgets=budgets, epochs=(1, 1, 1), deployment="backend=torch-cpu"
            )
    first, profiled, second, _ = asked
    # Multiples of 16 would leave everything whole, the fastest of all per MAC.
    assert first == {"backend": "torch-cpu", "batch": 1, "candidates": [1, 2, 4, 8]}
    assert profiled["multiple"] == 4
    assert second["candidates"] == [1, 2, 4], "multiples of 8 keep 33 % at least"


def test_widths_that_processors_like_are_not_timed_and_use_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(*arguments: Any, **keywords: Any) -> int:
        raise AssertionError("nothing of this budget is timed")

    monkeypatch.setattr("dnal.latency.fastest_multiple", timed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is trained
        learned = dnal.learn(
            dnal.models.create("vgg_small", classes=10, input_shape=SHAPE), *own_loaders(), method="uniform",
            budget="macs<=30%,params<=50%", epochs=(0, 0, 0), widths="divisor=auto",
        )  # fmt: skip
    assert learned.settings["divisor"] == "auto", "what --like asks for again"
    assert all(row["holds"] for row in learned.constraints)
    assert max(row["got"] / row["asked"] for row in learned.constraints) >= 0.99
    convolutions = [module for module in learned.network.modules() if isinstance(module, nn.Conv2d)]
    assert all(module.out_channels % 4 == 0 for module in convolutions)
