"""What is input and what is target in a batch: said once for a job, and the same everywhere.

The inputs are what the network is called with (:func:`dnal.space.surgery.running.call`): a tensor is the one argument,
a tuple or list are positional arguments, a mapping holds arguments by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from dnal.base.errors import UserError, described
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.running import call, parameters_of
from dnal.train.loader import InFront, Loader

LABELS = "labels"
"""The targets of a batch that is a mapping, as Hugging Face's collators call them."""
Pair = tuple[Any, Any]
GIVE = "give batch: a function of a batch that returns inputs and targets"


def split(batch: Any) -> Pair:
    """A batch as inputs and targets: a pair as it is, of a mapping the ``labels`` and the rest.

    Raises:
        UserError: it is something else.
    """
    if isinstance(batch, Mapping):
        if LABELS not in batch:
            raise UserError(f"a batch is {described(batch)}, and none of these is '{LABELS}', its targets; {GIVE}.")
        return {name: value for name, value in batch.items() if name != LABELS}, batch[LABELS]
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise UserError(
            f"a batch must be a pair of inputs and targets, or a mapping with '{LABELS}', not {described(batch)}; "
            f"{GIVE}."
        )
    inputs, targets = batch
    # Mappings such as BatchEncoding are no trees of torch's.
    return dict(inputs) if isinstance(inputs, Mapping) else inputs, targets


@dataclass(frozen=True)
class Reading:
    """How the batches of a job are read.

    Attributes:
        function: the user's, batch -> (inputs, targets); None: :func:`split`.
        computes_loss: the network takes the ``labels`` of a mapping too, to compute its own loss.
    """

    function: Callable[[Any], Any] | None = None
    computes_loss: bool = False

    @staticmethod
    def of(network: nn.Module, batch: Any, function: Callable[[Any], Any] | None) -> Reading | None:
        """For batches like this one; None where they are pairs already."""
        if function is not None:
            return Reading(function)
        return Reading(computes_loss=LABELS in parameters_of(network)) if isinstance(batch, Mapping) else None

    def __call__(self, batch: Any) -> Pair:
        """Inputs and targets.

        Raises:
            UserError: it is no batch, or the user's function returns no pair.
        """
        if self.function is None:
            inputs, targets = split(batch)
            return ({**inputs, LABELS: targets} if self.computes_loss else inputs), targets
        found = self.function(batch)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise UserError(f"batch must return a pair of inputs and targets, not {described(found)}.")
        return split(found)

    def deployed(self, inputs: Inputs) -> Inputs:
        """The inputs where nothing is learnt: without the labels that the network took for its loss alone."""
        if not self.computes_loss or not isinstance(inputs, Mapping):
            return inputs
        return {name: value for name, value in inputs.items() if name != LABELS}


class InPairs(InFront):
    """A loader whose batches are read: pairs of inputs and targets."""

    def __init__(self, loader: Loader, reading: Reading) -> None:
        super().__init__(loader)
        self._reading = reading

    def __iter__(self) -> Iterator[Pair]:
        return map(self._reading, self.behind)


def as_given(loader: Loader) -> Loader:
    """The loader as the user gave it, for a metric of the user's."""
    return loader.behind if isinstance(loader, InPairs) else loader


def check_called(network: nn.Module, inputs: Inputs, data: str) -> None:
    """Refuses inputs that are not the arguments of the network.

    Raises:
        UserError: naming the data and what the network takes.
    """
    taken = parameters_of(network)
    try:
        several = isinstance(inputs, tuple | list | Mapping)
        call(inspect.signature(network.forward).bind, inputs if several else (inputs,))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the network cannot be called with the inputs of the {data} data, {described(inputs)} ({error}): a tuple "
            "or list is its arguments in their order, a mapping its arguments by name, and it takes "
            f"{', '.join(taken) or 'none'}; {GIVE}."
        ) from None
