"""The folder of a sweep: begun, or gone on with, by one process at a time."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from dnal.base import claim
from dnal.base.errors import UserError
from dnal.base.reading import text_of
from dnal.run.writer import check_free
from dnal.sweep.configuration import LARGEST, Sweep, sweep_of

CONFIGURATION = "sweep.yaml"
TABLE = "trials.csv"


def check_folder(folder: Path, sweep: Sweep) -> None:
    """Refuses a folder that holds anything but this sweep.

    Raises:
        UserError: saying what stands there.
    """
    copy = folder / CONFIGURATION
    if not os.path.lexists(copy):
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"the folder '{folder}' exists and is no sweep; choose another with --out.")
        check_free(folder)
        return
    begun = sweep_of(text_of(copy, LARGEST, remedy="restore it, or choose another folder with --out"), str(copy))
    if (begun.job, begun.trials) != (sweep.job, sweep.trials):
        raise UserError(f"'{folder}' holds another sweep, that of its {CONFIGURATION}; choose another with --out.")


def claimed(folder: Path, sweep: Sweep) -> AbstractContextManager[None]:
    """The folder with its configuration, ours until the end; see :func:`dnal.base.claim.claimed`."""
    return claim.claimed(folder, CONFIGURATION, sweep.text, "dnal sweep")
