"""Events as a source delivers them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RawEvents:
    """Events between nodes, in any order.

    Attributes:
        source, target: the nodes that each event goes from and to, whole numbers from 0, (E,).
        time: of each event, in any unit, (E,).
    """

    source: NDArray[np.generic]
    target: NDArray[np.generic]
    time: NDArray[np.generic]
