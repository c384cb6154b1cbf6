"""A graph as a sequence of tokens, as NAR-Former reads it (arXiv 2211.08024).

A token is the operation, the place, and the places of what the node reads: gamma(o) | gamma(i) | sum of gamma(j). The
input has gamma(-1) for what it reads. A last token, all parts gamma(100,000), ends the sequence.

The published frequencies are 32 from 1 to 2^31, equally far apart. A number times such a frequency is a multiple of
1/31, so in exact arithmetic gamma consists of 62nd roots of unity: gamma(x) repeats after 62. It is computed so here,
from whole numbers, and is the same on every machine; in single precision, as published, it is not. Numbers of nodes and
operations are small enough that no two codes coincide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnal.predictors.graph import Stacked

FREQUENCIES = 32
PART = 2 * FREQUENCIES
WIDTH = 3 * PART
"""Numbers of a token."""
NO_SOURCE, END = -1, 100_000


def gamma(numbers: ArrayLike, frequencies: int = FREQUENCIES) -> NDArray[np.float32]:
    """The code of whole numbers: sin(pi f x) and cos(pi f x) for frequencies f from 1 to 2^31, equally far apart.

    Args:
        numbers: any shape. frequencies: how many, F.

    Returns:
        that shape and 2 F more: sines, then cosines.

    Examples:
        >>> gamma(3).shape, bool((gamma(3) == gamma(3 + 62)).all()), bool((gamma(3) == gamma(4)).all())
        ((64,), True, False)
    """
    x = np.asarray(numbers, dtype=np.int64)[..., None]
    parts = frequencies - 1
    turns = (x * parts + x * np.arange(frequencies) * (2**31 - 1)) % (2 * parts)
    angles = np.pi * turns / parts
    return np.concatenate([np.sin(angles), np.cos(angles)], -1).astype(np.float32)


def tokens(graphs: Stacked, *, sources: bool = True) -> NDArray[np.float32]:
    """The tokens of graphs.

    Args:
        sources: without, the third part of every token is 0: the sequence does not say what a node reads.

    Returns:
        (N, n + 1, 192): nodes, the last token, and zeros where a graph has fewer nodes.
    """
    operations, adjacency, lengths = graphs
    number, size = operations.shape
    places = gamma(np.arange(size))
    found = np.zeros((number, size + 1, WIDTH), np.float32)
    found[:, :size, :PART] = gamma(np.arange(operations.max(initial=0) + 1))[operations.clip(0)]
    found[:, :size, PART : 2 * PART] = places
    if sources:
        found[:, :size, 2 * PART :] = np.swapaxes(adjacency, 1, 2).astype(np.float32) @ places
        found[:, 0, 2 * PART :] = gamma(NO_SOURCE)
    found[np.arange(size + 1) >= lengths[:, None]] = 0
    end = np.tile(gamma(END), 3)
    end[2 * PART :] *= sources
    found[np.arange(number), lengths] = end
    return found


def depth_tokens(lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    """What tells how many nodes a graph has: their code (N, 192), of three times as many frequencies."""
    return gamma(lengths, WIDTH // 2)
