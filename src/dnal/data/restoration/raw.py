"""Clean images as a source delivers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Photographs = Sequence[NDArray[np.generic]] | NDArray[np.generic]
"""Images, each (H, W) or (H, W, C), uint8; or one array of them."""


@dataclass(frozen=True)
class RawPhotographs:
    """Clean images, of any sizes.

    Attributes:
        train, test: each (H, W) or (H, W, 3) of uint8.
        val: None: a tenth of ``train``, always the same ones.
    """

    train: Photographs
    test: Photographs
    val: Photographs | None = None
