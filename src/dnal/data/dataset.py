"""What a data set is here: three parts of labelled images, each of which makes ready batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Shape = tuple[int, int, int]
Batch = tuple[Tensor, Tensor]


class Part(Protocol):
    """Labelled images of one purpose (training, validation, test)."""

    @property
    def y(self) -> Tensor:
        """All labels, int64 (N,)."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, seed: int) -> Batch:
        """Images at ``indices``, float32 (B, C, H, W), normalised (augmented from ``seed``), and labels (B,)."""
        ...


@dataclass(frozen=True)
class Dataset:
    """A data set ready for training.

    Attributes:
        name: what it was loaded as.
        classes: number of classes; labels are 0 .. classes - 1.
        class_names: one name per class.
        input_shape: (C, H, W) of every batch.
        train, val, test: the three parts. val is cut from the training data; the test data decide nothing.
        mean, std: per channel, of the training part, in the images' scale (8-bit images as 0 to 1).
    """

    name: str
    classes: int
    class_names: tuple[str, ...]
    input_shape: Shape
    train: Part
    val: Part
    test: Part
    mean: tuple[float, ...]
    std: tuple[float, ...]
