"""What a data set is here: three parts of examples with targets, each of which makes ready batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from dnal.data.kind import Sizes
from dnal.data.objective import CLASSIFICATION, Objective
from dnal.train.batch import LABELS
from dnal.train.evaluate import Metric
from dnal.train.phase import Loss

Shape = tuple[int, int, int]
"""(C, H, W) of images."""
Batch = Any
"""Inputs and targets, or a mapping with ``labels``: any tree of tensors."""


class Part(Protocol):
    """Examples of one purpose (training, validation, test)."""

    @property
    def y(self) -> Tensor:
        """All targets, (N, ...)."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, seed: int) -> Batch:
        """The examples at ``indices`` as a network takes them (augmented from ``seed``), and their targets."""
        ...


@dataclass(frozen=True, eq=False)
class TensorPart:
    """Examples in memory, which need nothing but being picked.

    Args:
        x: (N, ...), or tensors by the names of the network's arguments; then a batch is a mapping with ``labels``.
        y: (N, ...).
    """

    x: Tensor | Mapping[str, Tensor]
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: Tensor, seed: int) -> Batch:
        if isinstance(self.x, Tensor):
            return self.x.index_select(0, indices), self.y[indices]
        return {name: tensor.index_select(0, indices) for name, tensor in self.x.items()} | {LABELS: self.y[indices]}


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some examples of a part; one that ``indices`` (M,) names twice is there twice."""

    part: Part
    indices: Tensor

    @property
    def y(self) -> Tensor:
        return self.part.y[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Tensor, seed: int) -> Batch:
        return self.part.batch(self.indices[indices], seed)


def plain(part: Part) -> Part:
    """The same examples, not augmented."""
    if isinstance(part, Chosen):
        return Chosen(plain(part.part), part.indices)
    held: Any = part
    augmented = is_dataclass(held) and any(each.name == "augmentation" for each in fields(held))
    found: Part = replace(held, augmentation=None) if augmented else part
    return found


@dataclass(frozen=True)
class Dataset:
    """A data set ready for training.

    Attributes:
        name: what it was loaded as.
        classes: number of classes, whose labels are 0 .. classes - 1; of regression the number of targets.
        class_names: one name per class, or per target.
        input_shape: sizes of an example, as its kind has them: (C, H, W) of images.
        train, val, test: the three parts. val is cut from the training data; the test data decide nothing.
        mean, std: of the training part: of images per channel (8-bit images as 0 to 1), of tables per column.
        kind: the name of its kind (:data:`dnal.data.KINDS`).
        objective: what is to be learnt, with its loss and metric.
        target_mean, target_std: of regression, by which the targets are standardised.
    """

    name: str
    classes: int
    class_names: tuple[str, ...]
    input_shape: Sizes
    train: Part
    val: Part
    test: Part
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    kind: str = "images"
    objective: Objective = CLASSIFICATION
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()

    @property
    def loss(self) -> Loss | None:
        """What :func:`dnal.learn` takes as loss; None for its own."""
        return self.objective.loss

    @property
    def metric(self) -> Metric | None:
        """What :func:`dnal.learn` takes as metric; None for its own."""
        return self.objective.metric
