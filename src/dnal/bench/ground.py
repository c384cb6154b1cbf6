"""What all jobs on one network and seed share: data, network, Space, limits, and how to train."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from dnal import data, models
from dnal.base.errors import UserError
from dnal.bench.jobs import part_of
from dnal.bench.suite import Entry, Network, Suite
from dnal.data import Dataset
from dnal.settings import DEFAULT_LR
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs, at_batch
from dnal.train.batch import split
from dnal.train.evaluate import Metric, accuracy
from dnal.train.loader import first_batch
from dnal.train.outputs import task_loss
from dnal.train.phase import WHOLE, Loss
from dnal.train.rows import to_device
from dnal.train.setup.numerics import fabric_of

EVALUATED = 500
"""Examples at once where nothing is learnt."""


@dataclass(frozen=True)
class DataFolders:
    """Where the data are: ``root`` of downloaded sets, and files or names that stand for a set."""

    root: str | None = None
    data: tuple[tuple[str, str], ...] = ()


class Ground:
    """One network of a suite, with one seed.

    Attributes:
        dataset: whose objective says loss, metric and learning rate. loss, metric: as training and measuring take them.
        rate: the peak learning rate of the base and of choosing, as that of a job by name.
        start: the network before any training. example: two inputs. space: of the network, with its residual branches.
        loaders: their order and augmentation depend on the seed alone. held_out: validation data in batches of the size
            of training.
    """

    def __init__(self, suite: Suite, network: Network, seed: int, folders: DataFolders) -> None:
        self.suite, self.network, self.seed = suite, network, seed
        self.fabric = fabric_of(suite.precision)
        self.device = self.fabric.device.type
        self.dataset: Dataset = data.load(
            dict(folders.data).get(network.data, network.data),
            root=folders.root,
            input_shape=network.input_shape,
            limit_train=network.images,
            seed=0,
        )
        self.loaders = data.loaders(self.dataset, network.batch, seed=seed, eval_batch_size=EVALUATED)
        self.held_out = data.loaders(self.dataset, network.batch).val
        self.loss: Loss = self.dataset.loss or task_loss
        self.metric: Metric = self.dataset.metric or accuracy
        self.rate = self.dataset.objective.lr or DEFAULT_LR
        torch.manual_seed(seed)
        start = models.create(network.model, classes=self.dataset.classes, input_shape=network.input_shape)
        inputs, _ = split(first_batch(self.loaders.val))
        self.example: Inputs = to_device(at_batch(inputs, 2), self.fabric.device)
        self.start = self.placed(start)
        self.space = Space.of(self.start, self.example, depth=True)

    @cached_property
    def channels(self) -> Space:
        """The Space without residual branches, which the paper does not know."""
        return Space.of(self.start, self.example)

    def space_with(self, *, branches: bool) -> Space:
        """What may vary, with residual branches or without."""
        return self.space if branches else self.channels

    def placed(self, network: nn.Module) -> nn.Module:
        """The network on its device, its weights ordered for images."""
        network.to(self.fabric.device)
        network.to(memory_format=torch.channels_last)
        return network

    def limits(self, share: float) -> dict[str, float]:
        """The budget, in MACs; ``share`` in percent."""
        return {"macs": self.space.full_cost["macs"] * share / 100}

    def rates(self, entry: Entry) -> tuple[float, ...]:
        """The peak learning rates of the retraining that an entry may choose from: the suite's, by as much gentler as
        the objective's own is; the base's where one schedule goes on from it."""
        if part_of(self.network, entry, 2, self.network.epochs) != WHOLE:
            return (self.rate,)
        return tuple(float(f"{rate * (self.rate / DEFAULT_LR):g}") for rate in self.suite.rates)

    @property
    def images(self) -> int:
        """Training examples of an epoch."""
        return len(self.dataset.train)

    def samples(self, batches: int) -> int:
        """Examples in so many batches of the training loader."""
        whole, rest = divmod(batches, len(self.loaders.train))
        return whole * self.images + min(rest * self.network.batch, self.images)


def handed_out(loader: object) -> int:
    """Batches that a training loader of ours has handed out: those of the epochs begun before, and of this one."""
    state = loader.state_dict()  # type: ignore[attr-defined]
    return int(state["epoch"]) * int(state["batches"]) + int(state["batch"])


def unmeasured(network: nn.Module) -> dict[str, float]:
    """Stands for a measurement that is only a line of the log, and would be counted as time of the method's."""
    return {}


def folder_of(out: Path, name: str) -> Path:
    """Where a job keeps its state."""
    return out / "jobs" / name


def check_given(suite: Suite, folders: DataFolders) -> None:
    """Refuses to begin without data that have no name of their own and that no file was given for.

    Raises:
        UserError: naming the first.
    """
    given, named = dict(folders.data), {each.name for each in data.names()}
    for network in suite.networks:
        if network.data not in given and network.data not in named:
            raise UserError(
                f"the suite '{suite.name}' needs the data '{network.data}' for its network '{network.name}'; say where "
                f"they are with --data {network.data}=FILE, or leave it out with --only and the names of others."
            )
