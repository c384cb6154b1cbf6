"""What a finished run will be, held against what is read of one, before the first step: nothing is trained that could
not be loaded again. config.yaml is held against it by :func:`dnal.run.config.written`, which knows its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from dnal.architecture.architecture import LONGEST, Architecture
from dnal.base.errors import UserError
from dnal.run.files import ARCHITECTURE, MANIFEST, SHAPE
from dnal.run.limits import LARGEST, MOST_ENTRIES, MOST_EPOCHS, SPARE_TEXT
from dnal.run.shape import shape_of
from dnal.run.shape import written as shape_text
from dnal.space.space import Space
from dnal.space.surgery.bypass import Bypass

CHANGE = 200
"""Bytes of a number in the code that changes."""
DIGEST = 80
"""Bytes of a manifest for each tensor, beside its name."""


def check_space(space: Space) -> None:
    """Refuses a network of which the files of a finished run would be larger than what is read.

    Raises:
        UserError: naming the first such file.
    """
    whole = Architecture.full(space)
    longest = max(map(len, space.shapes), default=0)
    if longest > LONGEST:
        raise UserError(
            f"a name of a tensor in this network has {longest:,} characters; of at most {LONGEST:,} is read."
        )
    # The most that closed branches add. Kept indices are allowed for by the tensors that keep them.
    bypasses = [branch.bypass for branch in space.branches]
    changes = 2 * len(_text(bypasses)) + CHANGE * len(space.sizes)
    shape = shape_of(whole)
    _check(ARCHITECTURE, len(whole.text()) + changes, SPARE_TEXT)
    _check(SHAPE, 2 * len(shape_text(shape)) + changes, LARGEST[SHAPE])
    _check(MANIFEST, sum(len(name) + DIGEST for name in space.shapes), LARGEST[MANIFEST])
    entries = len(shape.tensors) + len(space.sizes) + len(space.baked) + sum(len(b.modules) for b in bypasses)
    if entries > MOST_ENTRIES:
        raise UserError(
            f"this network has {entries:,} tensors and numbers that may change, and a run of at most {MOST_ENTRIES:,} "
            "is read; leave modules out with --exclude."
        )


def check_epochs(settings: Mapping[str, Any]) -> None:
    """Refuses a job of more epochs than a log, or the header of a checkpoint, may hold.

    Raises:
        UserError: with how many there may be.
    """
    epochs = sum(settings.get("epochs") or ())
    if epochs > MOST_EPOCHS:
        raise UserError(
            f"{epochs:,} epochs are more than the log of a run may hold ({MOST_EPOCHS:,}); ask for fewer, and for more "
            "images in each."
        )


def _text(bypasses: list[Bypass]) -> str:
    """About what these take in a file of text."""
    names = ((b.name, *b.places, *chain.from_iterable((r.path, *r.children) for r in b.modules)) for b in bypasses)
    return "".join(f"{' '.join(own)}; chain of, 00" for own in names)


def _check(name: str, size: int, largest: int) -> None:
    if size > largest:
        raise UserError(
            f"a run of this network could not be loaded again: its {name} would have up to {size:,} bytes, and at most "
            f"{largest:,} are read; name fewer tensors, or leave modules out with --exclude."
        )
