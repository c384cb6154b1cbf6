"""Binary MobileNets measured by weights that all of them share, instead of by a training of each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import islice

from torch import nn

from dnal import data
from dnal.data import Dataset
from dnal.models.binary.supernet import Supernet
from dnal.models.genomes.binary_mobilenet import FORMS
from dnal.models.genomes.genome import Genome, parsed
from dnal.search.training import Evaluation, data_of, fitness_of, fitted, one_thread
from dnal.settings import Searches
from dnal.train.norm_statistics import renew_statistics
from dnal.train.schedule import cosine

CALIBRATION_BATCHES = 8
"""Training batches from which the batch norms of a path learn its own statistics."""


class SharedWeights:
    """What networks are worth that are paths through one supernet, which is trained when the first is asked for.

    It follows from what is asked alone: the same weights for the same seed, and of each path the same statistics,
    whichever were measured before.

    Args:
        asked: data, learning rate and seed. genome: of one of the networks. candidates: of each block its groups.
        epochs: of the shared weights.
    """

    def __init__(self, asked: Searches, genome: Genome, candidates: Sequence[Sequence[int]], epochs: int) -> None:
        self._asked, self._genome, self._candidates, self._epochs = asked, genome, candidates, epochs

    @cached_property
    def supernet(self) -> Supernet:
        """The supernet, trained, in eval mode.

        Raises:
            Diverged: the loss became no number.
        """
        found = fitted(self._asked, self._made, self._epochs, cosine)
        assert isinstance(found, Supernet)
        found.sampling = False
        return found

    def __call__(self, model: str) -> Evaluation:
        """What a network is worth, by its name."""
        self.select(model)
        return Evaluation(fitness_of(self._asked, self.supernet))

    def select(self, model: str) -> None:
        """Makes the supernet compute a network, with batch norm statistics of this one."""
        self.supernet.select([int(layer.values[0]) for layer in parsed(model.partition("/")[2], FORMS)[1:]])
        train = data.loaders(data_of(self._asked), self._asked.batch_size, seed=self._asked.seed).train
        with one_thread():
            renew_statistics(self.supernet, islice(iter(train), CALIBRATION_BATCHES))

    def _made(self, dataset: Dataset) -> nn.Module:
        return Supernet(
            self._genome, self._candidates, classes=dataset.classes, input_shape=dataset.input_shape,
            seed=self._asked.seed,
        )  # fmt: skip
