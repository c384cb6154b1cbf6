"""What a loader gives, held against what network and loss can take: a wrong example is one sentence that names its
place, and neither an error of torch nor a number that is none.

Data that lie in memory are looked at before training, others when they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
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
from dnal.space.surgery.inputs import Inputs, at_batch, batch_size
from dnal.space.surgery.tensors import tensors_of
from dnal.train.batch import as_given, check_called, split
from dnal.train.evaluate import IGNORED, strange_target
from dnal.train.loader import InFront, Loader
from dnal.train.outputs import is_default, logits_of, own_loss
from dnal.train.phase import Loss
from dnal.train.rows import has_nan, is_finite, is_of_examples, of_each, to_device
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


def classes_of(network: nn.Module, inputs: Inputs, targets: Any, loss: Loss) -> Classes | None:
    """The class numbers that a loss of torch takes of this network; None where it is another loss, or takes no class
    numbers.

    Args:
        inputs, targets: a few examples, on the network's device.
    """
    knows = is_default(loss) or isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss)
    if not knows or not isinstance(targets, Tensor) or targets.is_floating_point():
        return None
    try:
        found = outputs(network, inputs, training=True)
    except Exception:  # whatever the user's own network raises; training says it
        return None
    logits = logits_of(found)
    if not isinstance(logits, Tensor) or logits.dim() < 2:
        return None
    if own_loss(found) is not None and logits.shape[1] < 2:  # it may be a number that is to be met
        return None
    return Classes(logits.shape[1], getattr(loss, "ignore_index", IGNORED))


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
    if own is None:
        return
    other = next((tensor for tensor in tensors_of(inputs) if _may_be_meant(inputs, tensor, own.dtype)), None)
    if other is None:
        return
    few = to_device(at_batch(inputs, EXAMPLES), own.device)
    if _runs(network, few) or not _runs(network, _converted(few, own.dtype)):
        return
    kind, own_kind = (str(dtype).removeprefix("torch.") for dtype in (other.dtype, own.dtype))
    raise UserError(
        f"the network cannot take inputs of {kind}, as the {data} data have them ({described(other)}): its weights "
        f"are {own_kind}; give inputs.to(torch.{own_kind}), scaled as it needs them."
    )


def _may_be_meant(inputs: Any, tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether a tensor of the inputs may stand for one of this type: of several inputs the whole numbers have reasons
    of their own, such as words."""
    return tensor.dtype != dtype and (tensor is inputs or tensor.is_floating_point())


def _converted(inputs: Any, dtype: torch.dtype) -> Any:
    return tree_map_only(Tensor, lambda t: t.to(dtype) if _may_be_meant(inputs, t, dtype) else t, inputs)


def check_known(loader: Loader, network: nn.Module, classes: Classes | None, data: str) -> None:
    """Looks at data that lie in memory, all of them, without asking the loader for a batch.

    Raises:
        UserError: for a label outside the classes, or inputs that are not finite and of which the network makes NaN.
    """
    for first, inputs, targets in _in_memory(loader):
        check_called(network, inputs, data)
        if classes is not None:
            classes.check(targets, data)
        _check_finite(network, inputs, first, data)


def checked(loader: Loader, network: nn.Module, classes: Classes | None, data: str) -> Loader:
    """The loader, whose batches are looked at as they come: labels outside the classes, and inputs that
    are not the network's arguments or of a type that it cannot take."""
    return _Checked(loader, network, classes, data)


class _Checked(InFront):
    def __init__(self, loader: Loader, network: nn.Module, classes: Classes | None, data: str) -> None:
        super().__init__(loader)
        self._network, self._classes, self._data = network, classes, data
        self._seen: set[tuple[Any, ...]] = set()

    def __iter__(self) -> Iterator[Any]:
        for batch in self.behind:
            inputs, targets = split(batch)
            kind = (*(tensor.dtype for tensor in tensors_of(inputs)), *(inputs if isinstance(inputs, Mapping) else ()))
            if kind not in self._seen:
                check_called(self._network, inputs, self._data)
                check_type(self._network, inputs, self._data)
                self._seen.add(kind)
            if self._classes is not None:
                self._classes.check(targets, self._data)
            yield batch


def _check_finite(network: nn.Module, inputs: Any, first: int, data: str) -> None:
    """Refuses inputs that are not finite and of which the network makes NaN; one that knows gaps may have them.

    Args:
        first: the number of the first of these examples.
    """
    size = batch_size(inputs)
    if is_finite(inputs) or not is_of_examples(inputs, size):
        return
    each = (of_each(inputs, size, slice(number, number + 1)) for number in range(size))
    found = next(((number, one) for number, one in enumerate(each) if not is_finite(one)), None)
    if found is None:  # a number of its own, without examples
        return
    number, wrong = found
    example, own = first + number, next(network.parameters(), tensors_of(wrong)[0])
    try:
        answer = outputs(network, to_device(at_batch(wrong, EXAMPLES), own.device), training=False)
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
    if type(as_given(loader)) in (list, tuple):
        first = 0
        for batch in loader:
            inputs, targets = split(batch)
            yield first, inputs, targets
            first += batch_size(inputs)
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
