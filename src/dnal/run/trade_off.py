"""The runs of a trade-off, or of a comparison, begin together: what all of them are is on the disk before one is a run.

The record, trade_off.json, holds the config.yaml of each by the name of its folder, and goes when they stand there. A
trade-off that was killed between has its record still, from which :func:`complete` makes the others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dnal.base.atomic import temporary_files, write_text
from dnal.base.errors import UserError
from dnal.base.reading import json_of
from dnal.run.files import CONFIG, TRADE_OFF
from dnal.run.trust import going_on

if TYPE_CHECKING:
    from dnal.run.writer import RunWriter

LARGEST = 2**26
"""Bytes of a record."""
REMEDY = "remove it, and begin again with `dnal learn --overwrite`"


class TradeOff:
    """Several runs in one folder.

    Args:
        folder: that holds theirs.
        runs: how many there are.
    """

    def __init__(self, folder: Path, runs: int) -> None:
        self._folder, self._runs = folder, runs
        self._writers: list[RunWriter] = []

    def prepare(self) -> None:
        """Removes the record of an earlier trade-off, which is being replaced."""
        for path in (self._folder / TRADE_OFF, *temporary_files(self._folder, [TRADE_OFF])):
            path.unlink(missing_ok=True)

    def add(self, writer: RunWriter) -> None:
        """A run whose folder is prepared; with the last one all of them begin.

        Raises:
            UserError: the disk refuses.
        """
        self._writers.append(writer)
        if len(self._writers) < self._runs:
            return
        record = self._folder / TRADE_OFF
        write_text(record, json.dumps({each.path.name: each.config for each in self._writers}, indent=1) + "\n")
        for each in self._writers:
            each.begun = True  # from now on `dnal resume` goes on with all of them
        for each in self._writers:
            each.begin()
        record.unlink(missing_ok=True)


def check_not_begun(folder: Path) -> None:
    """Refuses the folder of a trade-off that was killed while its runs began.

    Raises:
        UserError: with how to go on.
    """
    if (folder / TRADE_OFF).exists():
        raise UserError(
            f"a job of several runs was begun in '{folder}': `{going_on(folder)}` goes on with it; choose "
            "another folder with --out, or replace it with --overwrite."
        )


def complete(folder: Path) -> None:
    """Begins the runs that a trade-off recorded and a kill kept from beginning; without a record, nothing.

    Raises:
        UserError: the record is damaged, or the disk refuses.
    """
    record = folder / TRADE_OFF
    if not record.exists():
        return
    document = json_of(record, LARGEST, remedy=REMEDY)
    if not isinstance(document, dict) or not all(_named(name, text) for name, text in document.items()):
        raise UserError(f"'{record}' is no record of a trade-off; {REMEDY}.")
    try:
        for name, text in document.items():
            if (folder / name).is_symlink():
                raise UserError(
                    f"'{folder / name}' is a link, through which a run would be written elsewhere; {REMEDY}."
                )
            if not (folder / name / CONFIG).exists():
                (folder / name).mkdir(exist_ok=True)
                write_text(folder / name / CONFIG, text)
        record.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"the runs in '{folder}' cannot be begun ({error.strerror}); see to that.") from None


def _named(name: str, text: object) -> bool:
    """Whether it is the name of a folder in this one, with a text."""
    return isinstance(text, str) and name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}
