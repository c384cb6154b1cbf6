"""Writing the report of runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dnal.base.atomic import write_text
from dnal.base.errors import UserError
from dnal.base.reading import opened
from dnal.run.files import REPORT


def write_report(runs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Writes one HTML file about runs, which opens from the disk without a network.

    Of a run that is not finished it shows how far it is and its curves, and no figures. The folders may be anybody's:
    nothing that they name is imported or run.

    Args:
        runs: the folder of a run, or several.
        out: the file; by default report.html in the folder of a single run, and in the current directory for several.

    Returns:
        The file.

    Raises:
        UserError: no run, or a damaged one; a file at ``out`` that is no report; a full disk.
    """
    from dnal.report.page import page
    from dnal.report.source import read_source

    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    if not folders:
        raise UserError("a report needs at least one run.")
    sources = [read_source(folder) for folder in folders]
    file = Path(out) if out is not None else folders[0] / REPORT if len(folders) == 1 else Path(REPORT)
    _check_place(file)
    write_text(file, page(sources))
    return file


def _check_place(file: Path) -> None:
    """Refuses to replace what is no report, and folders that are not there."""
    from dnal.report.page import GENERATOR

    if file.is_dir():
        raise UserError(f"'{file}' is a folder; give a file such as '{file / REPORT}' with --out.")
    if not file.parent.is_dir():
        raise UserError(f"there is no folder '{file.parent}' for the report; make it, or choose another with --out.")
    if os.path.lexists(file):
        with opened(file, remedy="choose another file with --out") as begun:
            if GENERATOR.encode() not in begun.read(1024):
                raise UserError(f"'{file}' exists and is no report; choose another file with --out.")
