"""How large a job a folder that may be anybody's can ask for: what its files have bytes for, and a batch of examples.

Reading a run has the same bound (``dnal.run.loading``): the network comes from its name, and a name has no size.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dnal import models
from dnal.base.errors import UserError
from dnal.base.reading import ordinary
from dnal.run.config import Config
from dnal.run.files import BEFORE, LAST, MODEL
from dnal.run.limits import LARGEST_BATCH
from dnal.run.loading import SPARE, TIMES


def check_believed(config: Config, folders: Sequence[Path], trust: Sequence[str], remedy: str) -> None:
    """Refuses a job that is much larger than the folders which ask for it, before anything takes memory.

    Args:
        config: of the job.
        folders: of its runs; their tensors are what is known of its size.
        trust: what the user trusts: the model's own name lifts these bounds. A network of code has none here: only
            code that is trusted is run.
        remedy: what to do where the job is meant.

    Raises:
        UserError: naming what is too large.
    """
    if config.model in trust or models.names_code(config.model):
        return
    kind = config.of_kind
    examples = 1 if kind.alone else config.batch_size
    numbers = examples * kind.numbers(config.input)
    if numbers > LARGEST_BATCH:
        raise UserError(
            f"a batch of {examples:,} {kind.several} of {'x'.join(map(str, config.input))} has {numbers:,} numbers, "
            f"more than the {LARGEST_BATCH:,} that are believed of a folder; {remedy}."
        )
    needed = models.memory_of(
        models.outline(config.model, classes=config.classes, input_shape=config.input, kind=config.kind)
    )
    allowed = SPARE + TIMES * max((_tensors(folder) for folder in folders), default=0)
    if needed > allowed:
        raise UserError(
            f"the run's model '{config.model}' takes {needed:,} bytes, more than the {allowed:,} that are believed of "
            f"a folder with such files of tensors; {remedy}."
        )


def workers_of(config: Config) -> int:
    """How many processes may prepare images for a folder: as it says, and no more than there are cores."""
    return min(config.workers, os.cpu_count() or 1)


def _tensors(folder: Path) -> int:
    """Bytes of a run's larger file of tensors."""
    found = [0]
    for name in (MODEL, LAST, BEFORE):
        with suppress(UserError):  # what is missing, or no ordinary file, tells of no bytes
            found.append(ordinary(folder / name))
    return max(found)
