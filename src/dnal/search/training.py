"""Training a network of a space: the same for all, so that what they are worth can be compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn

from dnal import data, models
from dnal.base.errors import lacks_memory
from dnal.data import Dataset
from dnal.data.dataset import plain
from dnal.data.loader import EpochLoader
from dnal.search.pruners import PRUNERS
from dnal.search.pruners.pruner import EarlierNetwork
from dnal.settings import Searches
from dnal.train.evaluate import Validate, accuracy, measured
from dnal.train.loop import Diverged
from dnal.train.outputs import task_loss
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.schedule import Schedule, constant, cosine
from dnal.train.setup.numerics import fabric_of
from dnal.train.setup.reproducible import reproducible

MEASURED_AT_ONCE = 256
"""Examples in a batch where a network is measured."""


class Evaluation(NamedTuple):
    """What came of training a network: ``fitness``, higher is better, or None and ``why`` it has none.

    With a pruner, also its fitness after each epoch (``curve``), and whether it was stopped early, after the last of
    these (``stopped``): then ``fitness`` is that of its last epoch.
    """

    fitness: float | None
    why: str = ""
    curve: tuple[float, ...] = ()
    stopped: bool = False

    @classmethod
    def from_text(cls, text: str) -> Evaluation:
        """The evaluation in the text that :func:`evaluate` returns."""
        fitness, why, curve, stopped = json.loads(text)
        return cls(fitness, why, tuple(curve), stopped)


class _StoppedEarly(Exception):
    """The pruner stopped the training."""


def adam(network: nn.Module, lr: float) -> torch.optim.Adam:
    """Adam over all parameters, without decay."""
    return torch.optim.Adam(network.parameters(), lr=lr)


@lru_cache(maxsize=1)
def dataset_of(
    name: str, root: str | None, sizes: tuple[int, ...] | None, classes: int | None, limit: int | None, seed: int
) -> Dataset:
    """The data of a search, kept for the next network of it."""
    return data.load(name, root=root, input_shape=sizes, classes=classes, limit_train=limit, seed=seed, kind="images")


def data_of(asked: Searches) -> Dataset:
    """The data of a search.

    Raises:
        UserError: as :func:`dnal.data.load`.
    """
    return dataset_of(asked.data, asked.root, asked.input, asked.classes, asked.limit_train, asked.seed)


def evaluation_of(asked: Searches, model: str, earlier: Sequence[EarlierNetwork] = ()) -> Evaluation:
    """Trains a network from new weights and measures it. It follows from its name and what is asked alone: all begin at
    the same seed and see the same batches, on one thread. A pruner also judges by the networks of ``earlier`` rounds.
    """
    pruner = PRUNERS.read(asked.pruner)
    stops, curve = pruner.judge(earlier), list[float]()

    def after_epoch(network: nn.Module) -> dict[str, float]:
        curve.append(fitness_of(asked, network))
        if len(curve) < asked.epochs and stops(curve[-1]):
            raise _StoppedEarly
        return {}

    try:
        network = trained(asked, model, asked.epochs, constant, after_epoch if pruner.judges else None)
        return Evaluation(curve[-1] if pruner.judges else fitness_of(asked, network), curve=tuple(curve))
    except _StoppedEarly:
        return Evaluation(curve[-1], curve=tuple(curve), stopped=True)
    except Diverged as error:
        return Evaluation(None, str(error))
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        return Evaluation(None, "the machine has not enough memory for it")


def fitness_of(asked: Searches, network: nn.Module) -> float:
    """The fitness of a trained network: its metric on the data by which networks are compared."""
    dataset = data_of(asked)
    with one_thread():
        part = plain(dataset.train) if asked.fitness == "training" else dataset.val
        return measured(dataset.metric or accuracy, network, EpochLoader(part, MEASURED_AT_ONCE), asked.fitness)


def trained(
    asked: Searches, model: str, epochs: int, schedule: Schedule, validate: Validate | None = None
) -> nn.Module:
    """The network of a name, trained from new weights, in eval mode, where it was trained; ``validate``: is given
    it after each epoch, and must not change it.

    Raises:
        Diverged: the loss became NaN or infinite.
    """

    def made(dataset: Dataset) -> nn.Module:
        return models.create(model, classes=dataset.classes, input_shape=dataset.input_shape, kind=dataset.kind)

    return fitted(asked, made, epochs, schedule, validate)


def fitted(
    asked: Searches, made: Callable[[Dataset], nn.Module], epochs: int, schedule: Schedule,
    validate: Validate | None = None,
) -> nn.Module:  # fmt: skip
    """A network, made for the data with weights of the seed and trained, in eval mode, where it was trained; see
    :func:`trained`.

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    dataset = data_of(asked)
    fabric = fabric_of("32-true")
    with one_thread(), torch.random.fork_rng(), reproducible(fabric.device):
        torch.manual_seed(asked.seed)
        network = made(dataset)
        train = data.loaders(dataset, asked.batch_size, seed=asked.seed).train
        phase = Phase("base", epochs, asked.lr, optimizer=adam, schedule=schedule)
        context = Context(fabric, train, dataset.loss or task_loss)
        run_phase(phase, network.to(fabric.device), context, validate=validate)
        return network.eval()


def finally_trained(asked: Searches, model: str) -> nn.Module:
    """The same for the best network: longer, with a cosine, on the CPU in the end."""
    return trained(asked, model, asked.final_epochs, cosine).cpu()


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in an order that does not depend on how many cores there are, nor on how many networks are trained at
    once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def evaluate(asked: Searches, model: str, earlier: Sequence[EarlierNetwork] = ()) -> str:
    """:func:`evaluation_of` as text, in a process of its own."""
    return json.dumps(evaluation_of(asked, model, earlier))
