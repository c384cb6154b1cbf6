"""Writing the report of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnal.base.atomic import write_text
from dnal.base.errors import UserError


def write_report(runs: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Writes one HTML file about runs, which opens from the disk without a network.

    Of a run that is not finished it shows how far it is and its curves, and no figures. It links to what `dnal analyse`
    found, where that stands in the folder "analysis" beside it. A search, one at a time, is shown by its course and its
    best networks. The folders may be anybody's: nothing that they name is imported or run.

    Args:
        runs: the folder of a run, or several.
        out: the file; by default report.html in the folder of a single run, and in the current directory for several.

    Returns:
        The file.

    Raises:
        UserError: no run, or a damaged one; a file at ``out`` that is no report; a full disk.
    """
    from dnal.report.frame import check_place
    from dnal.report.page import page
    from dnal.report.search import search_page
    from dnal.report.source import read_source
    from dnal.run.files import ANALYSIS, ANALYSIS_PAGE, REPORT
    from dnal.run.searched import is_search

    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    if not folders:
        raise UserError("a report needs at least one run.")
    searches = [folder for folder in folders if is_search(folder)]
    if searches and len(folders) > 1:
        raise UserError(f"'{searches[0]}' is a search, which has a report of its own; give it alone.")
    file = Path(out) if out is not None else folders[0] / REPORT if len(folders) == 1 else Path(REPORT)
    sources = [] if searches else [read_source(folder) for folder in folders]
    check_place(file)
    if searches:
        write_text(file, search_page(searches[0]))
        return file
    link = f"{ANALYSIS}/{ANALYSIS_PAGE}"
    write_text(file, page(sources, analysis=link if (file.parent / link).is_file() else None))
    return file
