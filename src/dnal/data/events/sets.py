"""Generated messages, the same on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dnal.data.events.raw import RawEvents

PEOPLE, MESSAGES, RECENT = 80, 4000, 12
REPLY, AGAIN = 0.5, 0.3
"""The probabilities that a message answers, or repeats, one of the last ``RECENT``; otherwise its pair is random."""


def read_replies(root: Path | None, download: bool = True) -> RawEvents:
    """Messages of which many answer or repeat a recent one, so that a window helps to predict the next ones."""
    draw = np.random.RandomState(0)  # numpy promises that its stream never changes
    pairs = [tuple(draw.randint(PEOPLE, size=2))]
    for _ in range(MESSAGES - 1):
        one, other = pairs[-1 - draw.randint(min(RECENT, len(pairs)))]
        what = draw.random_sample()
        if what >= REPLY + AGAIN:
            pairs.append(tuple(draw.randint(PEOPLE, size=2)))
        else:
            pairs.append((other, one) if what < REPLY else (one, other))
    source, target = np.array(pairs, np.int64).T
    return RawEvents(source, target, draw.exponential(size=MESSAGES).cumsum())
