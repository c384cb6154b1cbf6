"""What a loader gives, held against what network and loss can take: a wrong example is one sentence that names its
place, and neither an error of torch nor a number that is none.

Data that lie in memory are looked at before training, others when they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from dnal.base.errors import UserError, described
from dnal.space.surgery.inputs import at_batch
from dnal.train.evaluate import IGNORED, strange_target
from dnal.train.loader import InFront, Loader, pair
from dnal.train.phase import Loss
from dnal.train.rows import has_nan, is_finite, to_device
from dnal.train.setup.dry_run import EXAMPLES, outputs

PIECE = 4096
"""Examples that are looked at together."""


@dataclass(frozen=True)
class Classes:
    """The class numbers that a loss takes: 0 to ``count`` - 1, and ``ignored``."""

    count: int
    ignored: int = IGNORED

    def check(self, targets: Any, data: str) -> None:
        """Refuses another number among targets that are class numbers.

        Raises:
            UserError: naming it and the data.
        """
        if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.is_complex():
            return
        strange = strange_target(targets, self.count, self.ignored)
        if strange is not None:
            raise UserError(
                f"a target of the {data} data is {strange}, where the network tells the classes 0 to {self.count - 1} "
                f"apart and {self.ignored} is left out; mend it, or give the network as many outputs as there are "
                "classes."
            )


def classes_of(network: nn.Module, inputs: Tensor, targets: Any, loss: Loss) -> Classes | None:
    """The class numbers that a loss of torch takes of this network; None where it is another loss, or takes no class
    numbers.

    Args:
        inputs, targets: a few examples, on the network's device.
    """
    knows = loss is F.cross_entropy or isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss)
    if not knows or not isinstance(targets, Tensor) or targets.is_floating_point():
        return None
    try:
        found = outputs(network, inputs, training=True)
    except Exception:  # whatever the user's own network raises; training says it
        return None
    if not isinstance(found, Tensor) or found.dim() < 2:
        return None
    return Classes(found.shape[1], getattr(loss, "ignore_index", IGNORED))


def check_inputs(network: nn.Module, inputs: Any, data: str) -> None:
    """Refuses inputs of which the network makes nothing: those of another type (:func:`check_type`), or with NaN or
    infinite values of which it makes NaN.

    Raises:
        UserError: naming the data.
    """
    check_type(network, inputs, data)
    _check_finite(network, inputs, 0, data)


def check_type(network: nn.Module, inputs: Any, data: str) -> None:
    """Refuses inputs of another type of numbers than the network's weights, if the network cannot take them and could
    take them in its own.

    Args:
        inputs: a batch, anywhere.

    Raises:
        UserError: naming both types.
    """
    own = next((p for p in network.parameters() if p.is_floating_point()), None)
    if own is None or not isinstance(inputs, Tensor) or inputs.dtype == own.dtype:
        return
    few = to_device(at_batch(inputs, EXAMPLES), own.device)
    if _runs(network, few) or not _runs(network, few.to(own.dtype)):
        return
    kind, own_kind = (str(dtype).removeprefix("torch.") for dtype in (inputs.dtype, own.dtype))
    raise UserError(
        f"the network cannot take inputs of {kind}, as the {data} data have them ({described(inputs)}): its weights "
        f"are {own_kind}; give inputs.to(torch.{own_kind}), scaled as it needs them."
    )


def check_known(loader: Loader, network: nn.Module, classes: Classes | None, data: str) -> None:
    """Looks at data that lie in memory, all of them, without asking the loader for a batch.

    Raises:
        UserError: for a label outside the classes, or inputs that are not finite and of which the network makes NaN.
    """
    for first, inputs, targets in _in_memory(loader):
        if classes is not None:
            classes.check(targets, data)
        _check_finite(network, inputs, first, data)


def checked(loader: Loader, network: nn.Module, classes: Classes | None, data: str) -> Loader:
    """The loader, whose batches are looked at as they come: labels outside the classes, and inputs of a type that the
    network cannot take."""
    return _Checked(loader, network, classes, data)


class _Checked(InFront):
    def __init__(self, loader: Loader, network: nn.Module, classes: Classes | None, data: str) -> None:
        super().__init__(loader)
        self._network, self._classes, self._data = network, classes, data
        self._types: set[torch.dtype] = set()

    def __iter__(self) -> Iterator[Any]:
        for batch in self.behind:
            inputs, targets = pair(batch)
            if isinstance(inputs, Tensor) and inputs.dtype not in self._types:
                check_type(self._network, inputs, self._data)
                self._types.add(inputs.dtype)
            if self._classes is not None:
                self._classes.check(targets, self._data)
            yield batch


def _check_finite(network: nn.Module, inputs: Any, first: int, data: str) -> None:
    """Refuses inputs that are not finite and of which the network makes NaN; one that knows gaps may have them.

    Args:
        first: the number of the first of these examples.
    """
    if not isinstance(inputs, Tensor) or not inputs.dim() or is_finite(inputs):
        return
    wrong = ~torch.isfinite(inputs).reshape(len(inputs), -1).all(1)
    inputs, example = inputs[wrong], first + int(wrong.nonzero()[0])
    own = next(network.parameters(), inputs)
    try:
        answer = outputs(network, to_device(at_batch(inputs, EXAMPLES), own.device), training=False)
    except Exception:  # whatever the user's own network raises; training says it
        return
    if has_nan(answer):
        raise UserError(
            f"the inputs of the {data} data have NaN or infinite values, first in example {example}; remove or mend "
            "them."
        )


def _runs(network: nn.Module, inputs: Tensor) -> bool:
    try:
        outputs(network, inputs, training=False)
    except Exception:  # whatever the user's own network raises
        return False
    return True


def _in_memory(loader: Loader) -> Iterator[tuple[int, Any, Any]]:
    """What a loader holds: the number of the first example, inputs and targets, a piece at a time."""
    if type(loader) in (list, tuple):
        first = 0
        for batch in loader:
            inputs, targets = pair(batch)
            yield first, inputs, targets
            first += len(inputs) if isinstance(inputs, Tensor) else 0
        return
    if not isinstance(loader, DataLoader) or loader.collate_fn is not default_collate:
        return
    if type(loader.sampler) not in (SequentialSampler, RandomSampler) or type(loader.batch_sampler) is not BatchSampler:
        return  # it may pass over some
    dataset: Any = loader.dataset
    indices = None
    if isinstance(dataset, Subset):
        dataset, indices = dataset.dataset, torch.as_tensor(dataset.indices)
    if type(dataset) is not TensorDataset or len(dataset.tensors) != 2:
        return
    inputs, targets = dataset.tensors
    for first in range(0, len(inputs) if indices is None else len(indices), PIECE):
        piece = slice(first, first + PIECE) if indices is None else indices[first : first + PIECE]
        yield first, inputs[piece], targets[piece]
