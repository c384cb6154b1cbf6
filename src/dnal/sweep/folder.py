"""The folder of a sweep: begun, or gone on with, by one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dnal.atomic import write_text
from dnal.errors import UserError
from dnal.run.writer import check_free
from dnal.sweep.configuration import Sweep, read_sweep
from dnal.sweep.lock import lock

CONFIGURATION = "sweep.yaml"
TABLE = "trials.csv"


def check_folder(folder: Path, sweep: Sweep) -> None:
    """Refuses a folder that holds anything but this sweep.

    Raises:
        UserError: saying what stands there.
    """
    copy = folder / CONFIGURATION
    if not copy.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"the folder '{folder}' exists and is no sweep; choose another with --out.")
        check_free(folder)
        return
    begun = read_sweep(copy)
    if (begun.job, begun.trials) != (sweep.job, sweep.trials):
        raise UserError(f"'{folder}' holds another sweep, that of its {CONFIGURATION}; choose another with --out.")


@contextmanager
def claimed(folder: Path, sweep: Sweep) -> Iterator[None]:
    """The folder with its configuration, ours until the end.

    Raises:
        UserError: it cannot be written, or somebody else has it.
    """
    copy = folder / CONFIGURATION
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            write_text(copy, sweep.text)
        file = copy.open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"'{folder}' cannot be written ({error.strerror}); choose another with --out.") from None
    with file:
        if not lock(file, wait=False):
            raise UserError(f"another `dnal sweep` works in '{folder}'; wait for its end, or stop it.")
        yield
