"""Generated messages, the same on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dnal.data.events.raw import RawEvents

PEOPLE, MESSAGES, RECENT = 80, 4000, 12
REPLY, AGAIN = 0.5, 0.3
"""How often a message answers one of the last ``RECENT``, and how often it repeats one of them; else it is any."""


def read_replies(root: Path | None, download: bool = True) -> RawEvents:
    """Messages of which many answer or repeat a recent one, so that who writes to whom next is told from a window."""
    draw = np.random.RandomState(0)  # whose stream is promised never to change
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
