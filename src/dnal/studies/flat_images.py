"""Images as rows of numbers, for the students of a theory: no augmentation, no loader."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dnal import data


class FlatImages(NamedTuple):
    """Pixels with mean 0 and standard deviation 1 over all, in grey, and classes.

    Attributes:
        x (N, side * side), y (N,): to train on. new_x (Q, side * side), new_y (Q,): to measure on.
    """

    x: NDArray[np.float64]
    y: NDArray[np.int64]
    new_x: NDArray[np.float64]
    new_y: NDArray[np.int64]


@lru_cache(maxsize=1)
def flat_images(name: str, side: int, number: int, new: int) -> FlatImages:
    """The first ``number`` training and ``new`` test images of a data set.

    Args:
        name: of `dnal data`, or a file. side: height and width.

    Raises:
        UserError: there is no such data set.
    """
    loaded = data.load(name, input_shape=(1, side, side), augment=False)

    def part(own: Any, most: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        x, y = own.batch(torch.arange(min(most, len(own))), 0)
        return x.flatten(1).double().numpy(), y.numpy().astype(np.int64)

    return FlatImages(*part(loaded.train, number), *part(loaded.test, new))
