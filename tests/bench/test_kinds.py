"""Grounds of other data than images: texts and a regression."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_suite import TINY, do, row

import dnal
from dnal.bench.ground import DataFolders, Ground
from dnal.bench.jobs import Base, Impossible, Run, phases
from dnal.bench.results import metric_of, read_row
from dnal.bench.run import DIVERGED, _rank
from dnal.bench.suite import REPAIRED, Network, Suite

TEXT = Network("text", "transformer/small", "negation", (16, 512), 200, (40.0,), (1, 1, 2), 32)
TABLE = Network("table", "mlp/small", "diabetes", (10,), None, (30.0,), (2, 1, 2), 32)
KINDS = replace(TINY, networks=(TEXT, TABLE), entries=REPAIRED)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bases."""
    out = tmp_path_factory.mktemp("bench")
    for network in KINDS.networks:
        do(KINDS, Base(network.name, 0), out)
    return out


FAST = ("dnal", "obs", "scratch", "slimming")
"""Of a text, whose rows take seconds."""


@pytest.mark.parametrize(
    ("network", "entry"),
    [
        pytest.param(
            network, entry.name, id=f"{network.name}-{entry.name}",
            marks=() if network is TABLE or entry.name in FAST else pytest.mark.slow,
        )
        for network in (TEXT, TABLE)
        for entry in REPAIRED
    ],
)  # fmt: skip
def test_every_entry_keeps_the_budget_and_the_samples(shared: Path, network: Network, entry: str) -> None:
    job = Run(network.name, network.shares[0], 0, False, entry)
    if (network, entry) == (TEXT, "slimming"):  # LayerNorm has no scales of channels that may leave
        with pytest.raises(Impossible, match="in this network none passes one"):
            do(KINDS, job, shared)
        return
    found = row(KINDS, job, shared)
    assert 0.9 <= found["used"] <= 1
    assert found["samples"] == sum(network.epochs) * found["images"]
    assert (found["metric"], metric_of(read_row(shared, job))) == {
        TEXT: ("accuracy", "accuracy"), TABLE: ("r2", "R²"),
    }[network]  # fmt: skip
    assert found["accuracy"] <= 1


@pytest.mark.parametrize("network", [TEXT, TABLE], ids=["text", "table"])
def test_a_row_is_what_learn_gives(shared: Path, network: Network) -> None:
    """With the loss, the metric and the learning rate that the data's objective has there."""
    data = dnal.data.load(network.data, input_shape=network.input_shape, limit_train=network.images)
    rate = (data.objective.lr or 0.1) / 2
    found = row(KINDS, Run(network.name, network.shares[0], 0, False, "uniform"), shared, rates=(rate,))
    loaders = dnal.data.loaders(data, network.batch, seed=0, eval_batch_size=500)
    torch.manual_seed(0)
    created = dnal.models.create(network.model, classes=data.classes, input_shape=network.input_shape)
    learned = dnal.learn(
        created, *loaders, budget=f"macs<={network.shares[0]:g}%", method="uniform",
        without=[] if data.loss else ["distillation"], loss=data.loss, metric=data.metric, lr=data.objective.lr,
        numerics="precision=32-true,memory_format=channels_last",
        epochs=phases(network, KINDS.entry("uniform"), False),
    )  # fmt: skip
    assert (found["macs"], found["params"]) == (learned.figures.compact.macs, learned.figures.compact.params)
    assert found["base_accuracy"] == pytest.approx(learned.figures.base.metric, abs=1e-6)
    assert found["accuracy"] == pytest.approx(learned.figures.compact.metric, abs=1e-6)


def test_the_rates_of_a_regression_are_gentler_in_proportion() -> None:
    entry = KINDS.entry("uniform")
    assert _ground(KINDS, TEXT).rates(entry) == KINDS.rates == (0.02, 0.05)
    assert _ground(KINDS, TABLE).rates(entry) == (0.002, 0.005)  # its objective has .01 where others have .1
    assert _ground(KINDS, replace(TABLE, schedule_over="job")).rates(entry) == (0.01,)
    assert _ground(KINDS, replace(TABLE, schedule_over="job")).rates(KINDS.entry("scratch")) == (0.002, 0.005)


def _ground(suite: Suite, network: Network) -> Ground:
    return Ground(replace(suite, networks=(network,)), network, 0, DataFolders())


def test_a_bad_fit_is_ahead_of_a_loss_that_is_no_number() -> None:
    """R² has no lower end."""
    bad = {"accuracy": -7.0, "samples": 10}
    assert max([DIVERGED, bad, DIVERGED], key=_rank) is bad
    assert _rank({"accuracy": 0.0, "samples": 10}) > _rank(bad) > _rank(DIVERGED)


def test_what_cannot_be_kept_is_impossible_and_not_tried_again(shared: Path) -> None:
    """Without its branches the transformer has more than this."""
    suite = replace(KINDS, networks=(replace(TEXT, shares=(1.0,)),))
    with pytest.raises(Impossible, match="cannot be kept"):
        do(suite, Run("text", 1.0, 0, False, "obs"), shared)
