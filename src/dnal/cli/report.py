"""`dnal report`: runs as one HTML file; and how `dnal learn` writes it at its end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dnal.base.errors import UserError
from dnal.cli import options
from dnal.cli.display import json_document, line
from dnal.cli.errors import errors_as_sentences, say


@errors_as_sentences
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs, or of the runs of a trade-off.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Default: report.html in the folder that is given, or here for several."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write runs as one HTML file, which opens without a network; several are shown as a trade-off."""
    from dnal.report import write_report
    from dnal.run.files import REPORT

    folders = list(dict.fromkeys(folder for run in runs for folder in _runs_in(run)))
    if out is None and len(runs) == 1:
        out = runs[0] / REPORT
    file = write_report(folders, out)
    if as_json:
        json_document({"report": str(file), "runs": [str(folder) for folder in folders]})
    else:
        line(str(file))


def report_at_the_end(folders: Sequence[Path], out: Path) -> Path | None:
    """The report of runs that have just ended; None where it could not be made: then a warning says so, and the runs
    are no less finished."""
    from dnal.report import write_report

    try:
        return write_report(folders, out)
    except Exception as error:  # whatever it is, hours of training do not fail for a page about them
        again = shlex.join(["dnal", "report", *map(str, folders), "--out", str(out)])
        say(f"note: the report was not written ({str(error).rstrip('.')}); `{again}` tries again.")
        return None


def _runs_in(path: Path) -> list[Path]:
    """The run folder itself, or the runs in a folder."""
    from dnal.run.files import runs_in
    from dnal.run.searched import is_search

    found = [path] if is_search(path) else runs_in(path)
    if not found and path.is_dir():
        raise UserError(f"there is nothing to report in '{path}': it is no run and holds none.")
    return found or [path]  # what is not there is an error when it is read
