"""How a job that ended before its end goes on: the sentence that says why it ended says that too."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dnal.base.errors import UserError
from dnal.cli.errors import Ended

if TYPE_CHECKING:
    from dnal.cli.stopping import Stopping
    from dnal.run import RunWriter


@contextmanager
def says_how_to_go_on(
    folders: list[Path], trust: Sequence[str], stopping: Stopping, *, leads: bool
) -> Iterator[list[RunWriter]]:
    """While a job runs: what ends it becomes a sentence with the command that goes on, where there is something to go
    on from.

    Args:
        folders: of its runs. trust: what that command has to say besides.
        stopping: hears signals. leads: whether this is the first of the job's processes.

    Yields:
        an empty list, for the runs' writers, who know what was begun.

    Raises:
        UserError: for what went wrong. Ended: when a signal stopped it.
    """
    from dnal.cli.failures import sentence_of
    from dnal.cli.stopping import Terminated
    from dnal.train.loop import Diverged, Stopped

    writers: list[RunWriter] = []
    try:
        yield writers
    except Diverged as error:
        raise UserError(_diverged(str(error), folders)) from error
    except UserError as error:
        if not _begun(folders, writers, leads=leads):
            raise
        raise UserError(f"{error} {_command(folders, trust)} goes on.") from error
    except Stopped as stopped:
        # With several processes the signal may have come to another one.
        said = f"stopped {stopped}; {_command(folders, trust)} goes on." if leads else ""
        raise Ended(stopping.signal or signal.SIGTERM, said) from None
    except Terminated as terminated:
        begun = _begun(folders, writers, leads=leads)
        raise Ended(terminated.number, f"interrupted; {_go_on(folders, trust, begun=begun)}.") from None
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        begun = _begun(folders, writers, leads=leads)
        raise UserError(f"{sentence} {_go_on(folders, trust, begun=begun)}.") from error


def _begun(folders: list[Path], writers: list[RunWriter], *, leads: bool) -> bool:
    """Whether there is a run of this job to go on with."""
    from dnal.run.files import CONFIG, LAST, TRADE_OFF

    if not leads:
        return any((folder / LAST).exists() for folder in folders)  # those that are finished have none any more
    return any(
        writer.begun and ((writer.path / CONFIG).exists() or (writer.path.parent / TRADE_OFF).exists())
        for writer in writers
    )


def _go_on(folders: list[Path], trust: Sequence[str], *, begun: bool) -> str:
    return f"{_command(folders, trust)} goes on" if begun else "nothing was begun"


def _command(folders: list[Path], trust: Sequence[str]) -> str:
    folder = folders[0] if len(folders) == 1 else folders[0].parent
    return f"`{shlex.join(['dnal', 'resume', str(folder), *trust])}`"


def _diverged(sentence: str, folders: list[Path]) -> str:
    from dnal.run.files import LAST, RESULT

    where = sentence.partition(";")[0].rstrip(".")
    checkpoint = next(folder for folder in folders if not (folder / RESULT).exists()) / LAST
    return f"{where}; the last good state is '{checkpoint}'; a lower --lr usually helps."
