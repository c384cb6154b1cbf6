"""Rows: the budget, the samples, the same network as dnal.learn, resume anywhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_suite import TINY, after, do, row

import dnal
from dnal.bench.base import base_of, train_base
from dnal.bench.ground import DataFolders, Ground
from dnal.bench.jobs import Base, Penalty, Run, phases
from dnal.bench.penalty import following, nearest
from dnal.bench.run import row_file
from dnal.bench.suite import BASELINES, FASTNAS
from dnal.methods import METHODS
from dnal.train.loop import Stopped

ENTRIES = [entry.name for entry in TINY.entries]
TIMES = ("base_seconds", "choosing_seconds", "retrain_seconds")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bases."""
    out = tmp_path_factory.mktemp("bench")
    do(TINY, Base("small", 0), out)
    return out


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_keeps_the_budget_and_the_samples(shared: Path, entry: str) -> None:
    if entry in BASELINES:
        pytest.importorskip("modelopt" if entry == FASTNAS else "torch_pruning")
    found = row(TINY, Run("small", 30.0, 0, False, entry), shared)
    images = found["images"]
    assert (0.5 if entry == FASTNAS else 0.97) <= found["used"] <= 1  # its widths are few, and it goes by a threshold
    assert found["used"] == pytest.approx(found["macs"] / (0.3 * found["base_macs"]), abs=1e-6)
    # Batches of held-out data need not have the size of those of training.
    assert found["samples"] == pytest.approx(4 * images, rel=0.03 if "tas" in entry else 1e-9)
    assert found["choosing_samples"] <= 2 * images
    assert 0 <= found["accuracy"] <= 1


def test_a_row_is_what_learn_gives(shared: Path) -> None:
    """The whole job in one call, from the same seed, ends with the same network."""
    for entry, method, distil in (("dnal", "dnal", False), ("slimming", "slimming", True)):
        found = row(TINY, Run("small", 30.0, 0, distil, entry), shared, rates=(0.05,))
        digits = dnal.data.load("digits", input_shape=(1, 8, 8), limit_train=150)
        loaders = dnal.data.loaders(digits, 32, seed=0, eval_batch_size=500)
        torch.manual_seed(0)
        network = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
        learned = dnal.learn(
            network, *loaders, budget="macs<=30%", method=method, without=[] if distil else ["distillation"],
            numerics="precision=32-true,memory_format=channels_last",
            epochs=phases(TINY.networks[0], TINY.entry(entry), True),
        )  # fmt: skip
        assert (found["macs"], found["params"]) == (learned.figures.compact.macs, learned.figures.compact.params)
        assert found["accuracy"] == pytest.approx(learned.figures.compact.metric, abs=1e-6)
        assert found["base_accuracy"] == pytest.approx(learned.figures.base.metric, abs=1e-6)


STOPPED = ["dnal", *(pytest.param(entry, marks=pytest.mark.slow) for entry in ("taylor", "paper", "tas"))]


@pytest.mark.parametrize("entry", STOPPED)
def test_a_run_that_was_stopped_anywhere_ends_with_the_same_row(shared: Path, tmp_path: Path, entry: str) -> None:
    job = Run("small", 15.0, 0, True, entry)
    whole = row(TINY, job, shared, rates=TINY.rates)
    halts = 0
    while not row_file(tmp_path, job).exists():
        try:
            do(TINY, Base("small", 0), tmp_path, stop=after(3))
            if entry == "paper":
                do(TINY, Penalty("small", 15.0), tmp_path, stop=after(7))
            do(TINY, job, tmp_path, rates=TINY.rates, stop=after(5))
        except Stopped:
            halts += 1
    again = json.loads(row_file(tmp_path, job).read_text())
    assert halts >= 3
    assert {k: v for k, v in again.items() if k not in TIMES} == {k: v for k, v in whole.items() if k not in TIMES}


def test_a_rate_is_chosen_on_the_validation_data(shared: Path) -> None:
    found = row(TINY, Run("small", 15.0, 0, False, "uniform"), shared, rates=(1e-5, 0.05))
    tried = dict(text.split("=") for text in found["rates_tried"].split())
    assert float(found["rate"]) == float(max(tried, key=lambda rate: float(tried[rate])))
    assert set(tried) == {"1e-05", "0.05"}


def test_a_rate_that_diverges_is_not_chosen(shared: Path) -> None:
    found = row(TINY, Run("small", 15.0, 0, False, "random"), shared, rates=(1e9, 0.05))
    assert (found["rate"], found["rates_tried"].split()[0]) == (0.05, "1e+09=-1.0000")


def test_the_base_is_shared_and_stays(shared: Path) -> None:
    ground = Ground(TINY, TINY.networks[0], 0, DataFolders())
    before = base_of(ground, shared)
    train_base(ground, shared, lambda: True)  # done already: nothing is asked
    row(TINY, Run("small", 30.0, 0, True, "slimming"), shared)
    after_ = base_of(ground, shared)
    for name, tensor in before.network.state_dict().items():
        assert torch.equal(tensor, after_.network.state_dict()[name])


def test_the_bisection_closes_in_on_the_limit() -> None:
    tried: dict[float, float] = {}
    for _ in range(10):
        lambda_ = following(tried)
        tried[lambda_] = 0.004 / lambda_  # uses the limit exactly at 0.004
    assert nearest(tried) == pytest.approx(0.004, rel=0.01)


def test_a_base_of_other_data_is_refused(shared: Path) -> None:
    network = replace(TINY.networks[0], images=160)
    other = Ground(replace(TINY, networks=(network,)), network, 0, DataFolders())
    with pytest.raises(dnal.UserError, match="the data 'digits' are not those of the base"):
        base_of(other, shared)


def test_the_paper_knows_no_branches() -> None:
    network = replace(TINY.networks[0], model="cifar/resnet20", data="digits")
    ground = Ground(replace(TINY, networks=(network,)), network, 0, DataFolders())
    assert METHODS.of("dnal").prunes_blocks
    assert not METHODS.of("paper").prunes_blocks
    assert ground.space_with(branches=True).branches
    assert not ground.space_with(branches=False).branches
    assert ground.space_with(branches=False).full_cost == ground.space_with(branches=True).full_cost
