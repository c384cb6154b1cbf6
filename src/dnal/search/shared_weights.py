"""Binary MobileNets measured by the weights of a supernet that all of them share, instead of each being trained."""

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
"""Training batches from which the batch norm statistics of a path are computed again."""


class SharedWeights:
    """The fitness of networks that are paths through one supernet, which is trained when the first one is measured.

    It depends on the search's options alone: the same seed gives the same weights, and a path the same batch norm
    statistics, whichever paths were measured before.

    Args:
        asked: the options of the search, such as data, learning rate and seed.
        genome: of one of the networks. candidates: the groups that each block may have.
        epochs: for which the shared weights are trained.
    """

    def __init__(self, asked: Searches, genome: Genome, candidates: Sequence[Sequence[int]], epochs: int) -> None:
        self._asked, self._genome, self._candidates, self._epochs = asked, genome, candidates, epochs

    @cached_property
    def supernet(self) -> Supernet:
        """The supernet, trained, in eval mode.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        found = fitted(self._asked, self._made, self._epochs, cosine)
        assert isinstance(found, Supernet)
        found.sampling = False
        return found

    def __call__(self, model: str) -> Evaluation:
        """The fitness of a network, by its name."""
        self.select(model)
        return Evaluation(fitness_of(self._asked, self.supernet))

    def select(self, model: str) -> None:
        """Makes the supernet compute the network of this name, with batch norm statistics of its own."""
        self.supernet.select([int(layer.values[0]) for layer in parsed(model.partition("/")[2], FORMS)[1:]])
        train = data.loaders(data_of(self._asked), self._asked.batch_size, seed=self._asked.seed).train
        with one_thread():
            renew_statistics(self.supernet, islice(iter(train), CALIBRATION_BATCHES))

    def _made(self, dataset: Dataset) -> nn.Module:
        return Supernet(
            self._genome, self._candidates, classes=dataset.classes, input_shape=dataset.input_shape,
            seed=self._asked.seed,
        )  # fmt: skip
