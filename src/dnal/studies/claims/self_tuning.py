"""Does one training that tunes its own regularisation replace a search over fixed values?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.base.reading import text_of
from dnal.base.statistics import paired
from dnal.studies.check import Check
from dnal.studies.figures import dots
from dnal.studies.noisy import noisy_images
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.techniques.stn import HYPERPARAMETERS, Hyperparameter, self_tuning
from dnal.train.loader import endless

if TYPE_CHECKING:
    from dnal.report.figure import Figure

WAYS = ("start", "grid", "random", "tpe", "tuned", "narrow", "wide")
"""The values at the start; the best of a grid, of random ones and of TPE's by validation data; tuned, with a
perturbation that is tuned too, or is fixed and far too narrow or too wide."""
GRID = (0.0, 0.2, 0.4, 0.6, 0.8)
"""Of dropout."""
TRIALS = 3
"""Of random search and of TPE: in about the time of one training that tunes."""
FIXED = {"narrow": 1e-3, "wide": 5.0}
RATE, HYPER_RATE, BATCH = 2e-3, 2e-2, 32
LONGEST = 2**25
"""Bytes of a text."""
LENGTH, WIDTH = 20, 64
"""Words of a sequence; units of the recurrent network."""

Pair = tuple[Tensor, Tensor]


class Ground(NamedTuple):
    """A task: what makes its network, its data as inputs and targets, and what is tuned."""

    make: Callable[[], nn.Module]
    train: Pair
    val: Pair
    test: Pair
    tuned: Sequence[Hyperparameter]


@dataclass(frozen=True)
class OneTrainingTunes(Study):
    """One training that tunes its regularisation ends with a lower loss than its start, and as low as a search.

    A small CNN tunes dropout, input noise and cutout, a recurrent network of words tunes dropout, both from values far
    too low. The controls: training with the values of the start; the best of five fixed probabilities of dropout, which
    costs about twice as long; the best of three random settings, and of three by a tree-structured Parzen estimator
    (TPE) whose first is random, which cost about as long; and the same tuning with a perturbation that is fixed and far
    too narrow, so that the layers learn no answer, or too wide. The best is chosen by the validation data by which the
    others are tuned.
    """

    claim = (
        "Self-tuning networks discover adaptive hyperparameter schedules in a single training and outperform fixed "
        "hyperparameter values, and grid and random search at equal time."
    )
    source = Source(
        "M. MacKay et al., Self-Tuning Networks: Bilevel Optimization of Hyperparameters using Structured "
        "Best-Response Functions (ICLR 2019)",
        "1903.03088",
        "Layers, perturbation and loop are verified with the published code; the tables are recalled.",
    )
    needs = (
        "CIFAR-10 as a file (self-tuning:data=cifar10.npz), and a long plain text for the part on words (text=kjv.txt, "
        "such as the King James Bible; the package bible-kjv of Debian has it); Optuna "
        "(`pip install 'dnal[search]'`). The tiny size takes scikit-learn's digits and words by lot."
    )
    differs = (
        "1,000 images of 16x16 and 12,000 words, a CNN of two convolutions and an LSTM of 64 units made of linear "
        "layers, with one dropout for all of its places; some hundred steps of Adam; TPE instead of a Gaussian process."
    )
    sizes = Sizes(
        tiny=Size(
            2, "seconds",
            {"data": "digits", "text": "by lot", "images": 100, "words": 1500, "vocabulary": 20, "steps": 2},
        ),
        small=Size(3, "half an hour"),
        paper=Size(5, "days", {"images": 40_000, "words": 700_000, "vocabulary": 10_000, "steps": 20_000}),
    )  # fmt: skip
    data: str = option("cifar10.npz", "An .npz file of CIFAR-10, or digits.")
    text: str = option("", "A text file; by lot: words of a chain; empty: no part on words.")
    images: int = option(1000, "For training; half as many for validation.", least=20)
    words: int = option(12_000, "For training; a quarter as many for validation, and for the test.", least=1000)
    vocabulary: int = option(1000, "The commonest words; all others are one.", least=5)
    steps: int = option(400, "Of training.", least=2)

    def settings(self) -> Sequence[Setting]:
        return [{"task": task, "way": way} for task in ("cnn", *(("lstm",) if self.text else ())) for way in WAYS]

    def together(self, setting: Setting, seed: int) -> Any:
        return setting["task"], seed

    def row(self, seed: int, task: str, way: str) -> dict[str, Any]:
        ground = _ground(self, task, seed)
        values: Mapping[str, float]
        if way in ("tuned", *FIXED):
            torch.manual_seed(seed)
            draw = torch.Generator().manual_seed(seed)
            val = DataLoader(TensorDataset(*ground.val), BATCH, shuffle=True, generator=draw)
            found = self_tuning(
                ground.make(), ground.tuned, _batches(ground.train, seed), val, self.steps,
                optimizer=lambda weights: torch.optim.Adam(weights, RATE), warmup=self.steps // 10, rate=HYPER_RATE,
                scale=FIXED.get(way, 0.5), tunes_scale=way == "tuned", seed=seed,
            )  # fmt: skip
            network, values = found.network, found.values
        else:
            network, values = _searched(self, ground, way, seed)
        return {
            "loss": round(_loss(network, ground.test), 4), "validation_loss": round(_loss(network, ground.val), 4),
            "dropout": round(values["dropout"], 4),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        checks = []
        for task in dict.fromkeys(str(row["task"]) for row in rows):
            of = {
                way: {
                    int(row["seed"]): float(row["loss"]) for row in rows if (row["task"], row["way"]) == (task, way)
                }
                for way in WAYS
            }  # fmt: skip
            for other, words, below in (
                ("start", "tuning is better than its start", 0.0),
                ("grid", "tuning is at most 0.05 worse than the best of a grid", 0.05),
                ("random", "tuning is better than random search", 0.0),
                ("tpe", "tuning is better than TPE", 0.0),
                ("narrow", "tuning is better than without a perturbation that is learnt from", 0.0),
                ("wide", "tuning is better than with far too wide a perturbation", 0.0),
            ):
                checks.append(
                    Check(
                        f"{task}: {words}", f"cross entropy on the test data, tuned minus {other}",
                        paired(of["tuned"], of[other]), below=below,
                    )
                )  # fmt: skip
        return checks

    def figure(self, rows: Sequence[Row]) -> Figure:
        return dots(
            rows, ["task", "way"], "loss", what="cross entropy on the test data",
            caption="narrow, wide: a fixed perturbation. Less is better. A dot is a seed, an upright line the mean.",
        )  # fmt: skip

    def imagined(self, row: Row, holds: bool) -> Row:
        better = -0.2 if holds else 0.2
        return row | {"loss": 1.5 + 0.001 * (int(row["seed"]) % 3) + (better if row["way"] == "tuned" else 0.0)}


@lru_cache(maxsize=2)
def _ground(study: OneTrainingTunes, task: str, seed: int) -> Ground:
    if task == "cnn":
        held = study.images // 2
        images = noisy_images(study.data, "", "right", study.images + held, seed)
        (channels, side), few = images.x.shape[1:3], slice(0, 2000)
        return Ground(
            lambda: _cnn(channels, side),
            (images.x[: study.images], images.y[: study.images]),
            (images.x[study.images :], images.y[study.images :]),
            (images.x_test[few], images.y_test[few]),
            (
                HYPERPARAMETERS["dropout"], HYPERPARAMETERS["input-noise"],
                replace(HYPERPARAMETERS["cutout"], high=8.0, start=1.0),
            ),
        )  # fmt: skip
    words = _words(study, seed)
    sizes = [study.words // LENGTH, study.words // 4 // LENGTH, study.words // 4 // LENGTH]
    parts = words[: LENGTH * sum(sizes) + 1]
    x, y = (parts[start : start + LENGTH * sum(sizes)].reshape(-1, LENGTH) for start in (0, 1))
    pairs = list(zip(x.split(sizes), y.split(sizes), strict=True))
    return Ground(lambda: Words(study.vocabulary), pairs[0], pairs[1], pairs[2], (HYPERPARAMETERS["dropout"],))


def _words(study: OneTrainingTunes, seed: int) -> Tensor:
    """A stretch of the text as numbers of words, the commonest ones first, the last number for all others."""
    needed, draw = study.words * 3 // 2 + LENGTH, np.random.default_rng(seed)
    if study.text == "by lot":
        following, found = draw.integers(study.vocabulary, size=(study.vocabulary, 3)), [0]
        while len(found) < needed:
            found.append(int(following[found[-1], draw.integers(3)]))
        return torch.tensor(found)
    whole = text_of(Path(study.text), LONGEST, remedy="choose a plain text").lower().split()
    if len(whole) < needed:
        raise UserError(f"'{study.text}' has {len(whole)} words, and {needed} are needed; lower words.")
    begin = int(draw.integers(len(whole) - needed + 1))
    own, counts = np.unique(np.array(whole[begin : begin + study.words]), return_counts=True)
    common = [str(word) for word in own[np.argsort(-counts, kind="stable")][: study.vocabulary - 1]]
    number = {word: place for place, word in enumerate(common)}
    return torch.tensor([number.get(word, study.vocabulary - 1) for word in whole[begin : begin + needed]])


def _cnn(channels: int, side: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(), nn.Linear(32 * (side // 4) ** 2, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10),
    )  # fmt: skip


class Words(nn.Module):
    """An LSTM made of linear layers, which can answer to hyperparameters: (N, T) words -> logits (N, words, T)."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding, self.read, self.say = nn.Embedding(vocabulary, WIDTH), nn.Dropout(), nn.Dropout()
        self.cell, self.decoder = nn.Linear(2 * WIDTH, 4 * WIDTH), nn.Linear(WIDTH, vocabulary)

    def forward(self, words: Tensor) -> Tensor:
        inputs = self.read(self.embedding(words))
        state = memory = torch.zeros_like(inputs[:, 0])
        states = []
        for place in range(inputs.shape[1]):
            keep, take, show, new = self.cell(torch.cat([inputs[:, place], state], 1)).chunk(4, 1)
            memory = torch.sigmoid(keep + 1) * memory + torch.sigmoid(take) * torch.tanh(new)
            state = torch.sigmoid(show) * torch.tanh(memory)
            states.append(state)
        answer: Tensor = self.decoder(self.say(torch.stack(states, 1))).movedim(2, 1)
        return answer


def _searched(study: OneTrainingTunes, ground: Ground, way: str, seed: int) -> tuple[nn.Module, dict[str, float]]:
    """The best of a search's trainings by the validation data, and its values."""
    if way == "start":
        values = {one.name: one.start for one in ground.tuned}
        return _plain(study, ground, values, seed), values
    samplers = _optuna().samplers
    grid = {one.name: GRID if one.name == "dropout" else (one.low,) for one in ground.tuned}
    sampler = {
        "grid": lambda: samplers.GridSampler(grid, seed=seed),
        "random": lambda: samplers.RandomSampler(seed=1000 + seed),
        "tpe": lambda: samplers.TPESampler(n_startup_trials=1, seed=1000 + seed),
    }[way]()  # fmt: skip
    networks, tried = [], []

    def loss_of(trial: Any) -> float:
        tried.append({one.name: _suggested(trial, one) for one in ground.tuned})
        networks.append(_plain(study, ground, tried[-1], seed))
        return _loss(networks[-1], ground.val)

    search = _optuna().create_study(sampler=sampler)
    search.optimize(loss_of, n_trials=len(GRID) if way == "grid" else TRIALS)
    best = search.best_trial.number
    return networks[best], tried[best]


def _suggested(trial: Any, one: Hyperparameter) -> float:
    if one.discrete:
        return float(trial.suggest_int(one.name, int(one.low), int(one.high)))
    return float(trial.suggest_float(one.name, one.low, min(one.high, 1.0)))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError(
            "the searches by a grid, at random and by TPE need Optuna: pip install 'dnal[search]'."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # each trial is told otherwise
    return optuna


def _batches(data: Pair, seed: int) -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(*data), BATCH, shuffle=True, drop_last=True, generator=draw)


def _plain(study: OneTrainingTunes, ground: Ground, values: Mapping[str, float], seed: int) -> nn.Module:
    """A network after plain training with fixed values."""
    torch.manual_seed(seed)
    network = ground.make().train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = values["dropout"]
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for _, (x, y) in zip(range(study.steps), endless(_batches(ground.train, seed)), strict=False):
        for one in ground.tuned:
            x = x if one.act is None else one.act(x, torch.full((len(x),), values[one.name]))
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def _loss(network: nn.Module, data: Pair) -> float:
    losses = [
        F.cross_entropy(network(x), y, reduction="none").flatten()
        for x, y in zip(data[0].split(500), data[1].split(500), strict=True)
    ]
    return float(torch.cat(losses).mean())
