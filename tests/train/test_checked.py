"""Data that network or loss cannot take, in each of the three parts, in memory and as they come."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, SubsetRandomSampler, TensorDataset

import dnal
from dnal.base.errors import UserError
from dnal.train.checked import Classes, check_inputs, check_known, checked, classes_of
from dnal.train.listener import Listener

X = torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3


class Lazy(Dataset[Any]):
    """What lies nowhere before it is asked for."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.x[index], self.y[index]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


class Steps(Listener):
    steps = 0

    def step(self, loss: float) -> None:
        self.steps += 1


FORMS = {
    "lazy": lambda x, y: DataLoader(Lazy(x, y), 8),
    "workers": lambda x, y: DataLoader(Lazy(x, y), 8, num_workers=1),
    "memory": lambda x, y: DataLoader(TensorDataset(x, y), 8),
    "part": lambda x, y: DataLoader(Subset(TensorDataset(x, y), range(39, -1, -1)), 8),
    "list": lambda x, y: list(zip(x.split(8), y.split(8), strict=True)),
}
PARTS = {"train": "training", "val": "validation", "test": "test"}


def learned(part: str, form: str, x: Tensor, y: Tensor, **options: Any) -> int:
    """Steps of a job, of whose data one part is given."""
    good = DataLoader(Lazy(X, Y), 8)
    loaders = {name: FORMS[form](x, y) if name == part else good for name in PARTS}
    watcher = Steps()
    options = {
        "epochs": (1, 1, 1),
        "listener": watcher,
        "without": () if options.get("loss") else ["distillation"],
        "budget": "macs<=90%",
        **options,
    }
    try:
        dnal.learn(network(), **loaders, **options)
    except UserError as error:
        error.steps = watcher.steps  # type: ignore[attr-defined]
        raise
    return watcher.steps


def with_nan() -> Tensor:
    x = X.clone()
    x[37, 0, 2, 2] = torch.nan
    return x


def with_label() -> Tensor:
    return torch.where(torch.arange(40) == 37, 7, Y)


@pytest.mark.parametrize("form", ["list", "part", "memory"])
def test_what_lies_in_memory_is_looked_at(form: str) -> None:
    where = "example 2;" if form == "part" else "example 37;"
    with pytest.raises(
        UserError, match=f"the inputs of the training data have NaN or infinite values, first in {where}"
    ):
        check_known(FORMS[form](with_nan(), Y), network(), None, "training")
    with pytest.raises(UserError, match="a target of the training data is 7"):
        check_known(FORMS[form](X, with_label()), network(), Classes(3), "training")
    check_known(FORMS[form](X, Y), network(), Classes(3), "training")


@pytest.mark.parametrize(
    ("part", "form"), [("train", "lazy"), ("val", "workers"), ("test", "lazy"), ("val", "memory"), ("test", "memory")]
)
def test_an_input_that_is_no_number(part: str, form: str) -> None:
    where = "example 37" if form == "memory" else "batch 5"
    with pytest.raises(UserError, match=f"{PARTS[part]} data have NaN or infinite values, first in {where};") as caught:
        learned(part, form, with_nan(), Y)
    early = form not in ("lazy", "workers")
    expected = {"train": 4, "val": 5, "test": 15}[part]
    assert caught.value.steps == (0 if early else expected)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("form", "loss"), [("lazy", None), ("memory", None), ("lazy", nn.CrossEntropyLoss(label_smoothing=0.1))]
)
def test_a_label_outside_the_classes_in_the_training_data(form: str, loss: Any) -> None:
    told = "a target of the training data is 7, where the network tells the classes 0 to 2 apart"
    with pytest.raises(UserError, match=told) as caught:
        learned("train", form, X, with_label(), loss=loss)
    assert caught.value.steps == (4 if form in ("lazy", "workers") else 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_label_outside_the_classes_in_held_out_data(part: str) -> None:
    with pytest.raises(UserError, match=f"a target of the {PARTS[part]} data is 7") as caught:
        learned(part, "memory", X, with_label())
    assert caught.value.steps == 0  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="a target is 7, where"):
        learned(part, "lazy", X, with_label())


@pytest.mark.parametrize(
    ("part", "dtype"), [("train", torch.float64), ("val", torch.uint8), ("test", torch.float64), ("train", torch.int64)]
)
def test_inputs_of_another_type(part: str, dtype: torch.dtype) -> None:
    kind = str(dtype).removeprefix("torch.")
    told = rf"the network cannot take inputs of {kind}, as the {PARTS[part]} data .*give inputs.to\(torch.float32\)"
    with pytest.raises(UserError, match=told) as caught:
        learned(part, "lazy", (X * 10).to(dtype), Y)
    assert caught.value.steps == 0  # type: ignore[attr-defined]


class Own(nn.Sequential):
    """A network that knows what to do with bytes and gaps."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float().nan_to_num())


def test_what_a_network_knows_to_take_is_taken() -> None:
    own = Own(*network())
    x = with_nan()
    loaders = [DataLoader(TensorDataset(x, Y), 8) for _ in range(2)]
    learned_one = dnal.learn(own, *loaders, epochs=(1, 1, 1), budget="macs<=90%")
    assert learned_one.figures.compact.metric >= 0
    check_inputs(own, (X * 10).to(torch.uint8), "test")


def test_ignored_and_unusual_targets_pass() -> None:
    ignoring = torch.where(torch.arange(40) == 37, 255, Y)
    assert learned("train", "memory", X, ignoring, loss=nn.CrossEntropyLoss(ignore_index=255)) == 15
    probabilities = F.one_hot(Y, 3).float()
    batch = X[:2], probabilities[:2]
    assert classes_of(network(), *batch, F.cross_entropy) is None
    assert classes_of(network(), X[:2], Y[:2], lambda outputs, targets: outputs.sum()) is None
    assert classes_of(network(), X[:2], Y[:2], nn.NLLLoss(ignore_index=5)) == Classes(3, 5)


def test_a_loader_that_passes_over_some_is_not_looked_into() -> None:
    """Its sampler may know which examples are wrong."""
    loader = DataLoader(TensorDataset(with_nan(), with_label()), 8, sampler=SubsetRandomSampler(range(30)))
    check_known(loader, network(), Classes(3), "training")
    assert sum(len(x) for x, _ in checked(loader, network(), Classes(3), "training")) == 30


def test_looking_takes_nothing_and_passes_everything_through() -> None:
    loader = DataLoader(TensorDataset(X, Y), 8, shuffle=True, generator=torch.Generator().manual_seed(0))
    other = DataLoader(TensorDataset(X, Y), 8, shuffle=True, generator=torch.Generator().manual_seed(0))
    net, state = network(), torch.get_rng_state()
    check_known(loader, net, Classes(3), "training")
    assert torch.equal(torch.get_rng_state(), state)
    own = checked(loader, net, Classes(3), "training")
    assert own.generator is loader.generator  # type: ignore[attr-defined]
    assert len(own) == len(other)
    for (x, y), (u, v) in zip(own, other, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


@pytest.mark.parametrize("value", [float("nan"), torch.tensor(float("-inf"))])
def test_a_metric_that_is_no_number(value: Any) -> None:
    with pytest.raises(UserError, match=r"the metric gave (nan|-inf) on the validation data"):
        learned("val", "lazy", X, Y, metric=lambda network, loader: value)


def test_no_warning_and_no_refusal_in_an_ordinary_run() -> None:
    for form in ("lazy", "list"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message=".*fork.*")
            assert learned("train", form, X, Y) == 15
