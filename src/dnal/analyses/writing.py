"""Writing an analysis: tables, and a page that opens from the disk without a network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from dnal.analyses.analysis import Analysis
from dnal.analyses.document import Rows, classes_table, corruptions_table, examples_table, measures_table
from dnal.base.atomic import refusal, write_text
from dnal.base.errors import UserError
from dnal.base.rows import write_table
from dnal.run.files import ANALYSIS_PAGE

CLASSES, EXAMPLES, CORRUPTIONS, MEASURES = "classes.csv", "examples.csv", "corruptions.csv", "measures.csv"


class Written(NamedTuple):
    """The files of an analysis; ``corruptions`` and ``measures`` are None where there are none."""

    page: Path
    classes: Path
    examples: Path
    corruptions: Path | None
    measures: Path | None


def write_analysis(analysis: Analysis, folder: str | Path) -> Written:
    """Writes analysis.html, classes.csv, examples.csv and, where there are any, corruptions.csv and measures.csv.

    Args:
        folder: made if it is not there. `dnal report` links to the page in the folder "analysis" of a run.

    Raises:
        UserError: something else stands at one of these files' places, or the disk refuses.
    """
    from dnal.analyses.page import page
    from dnal.report.frame import check_place

    where = Path(folder)
    check_folder(where)
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(where, refusal(error)) from None
    check_place(where / ANALYSIS_PAGE)
    write_text(where / ANALYSIS_PAGE, page(analysis))  # first: by it the folder is known as one of an analysis
    write_table(where / CLASSES, classes_table(analysis))
    write_table(where / EXAMPLES, examples_table(analysis))
    corruptions = _if_any(where / CORRUPTIONS, corruptions_table(analysis))
    measures = _if_any(where / MEASURES, measures_table(analysis))
    return Written(where / ANALYSIS_PAGE, where / CLASSES, where / EXAMPLES, corruptions, measures)


def _if_any(path: Path, rows: Rows) -> Path | None:
    """Writes a table that has rows; of one without, that of an earlier analysis goes."""
    write_table(path, rows)
    if rows:
        return path
    path.unlink(missing_ok=True)
    return None


def check_folder(folder: Path) -> None:
    """Refuses a folder in which no analysis can be written, before anything is looked at; nothing is made.

    Raises:
        UserError: what is there is no folder, or holds something else than an analysis; or the disk refuses.
    """
    try:
        ancestor = _nearest(folder)
        if folder.is_symlink():  # a run's folder may be anybody's, and so may its links
            raise UserError(f"'{folder}' is a link; choose the folder itself, or another, with --out.")
        there = sorted(entry.name for entry in folder.iterdir()) if ancestor == folder.absolute() else []
    except OSError as error:
        raise _no_folder(folder, refusal(error)) from None
    if not ancestor.is_dir():
        raise _no_folder(folder, f"'{ancestor}' is no folder")
    if not os.access(ancestor, os.W_OK | os.X_OK):
        raise _no_folder(folder, f"nothing may be written in '{ancestor}'")
    if there and ANALYSIS_PAGE not in there:
        raise UserError(f"'{folder}' holds '{there[0]}' and no analysis; choose another folder with --out.")


def _nearest(folder: Path) -> Path:
    """The folder itself, or that of its parents which is there."""
    place = folder.absolute()
    while True:
        try:
            place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            place = place.parent
        else:
            return place


def _no_folder(folder: Path, reason: str | None) -> UserError:
    return UserError(f"'{folder}' cannot be a folder for the analysis ({reason}); choose another with --out.")
