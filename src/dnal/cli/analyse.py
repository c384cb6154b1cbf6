"""`dnal analyse`: what is inside the networks of runs, and what removal did to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dnal.analyses.asked import Asked
from dnal.cli import options
from dnal.cli.display import json_document, line, percent, table, teller
from dnal.cli.errors import errors_as_sentences, say
from dnal.cli.from_options import given, taking


@errors_as_sentences
@taking({Asked: "What is looked at"})
def analyse(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of finished runs, or of several runs.")],
    data: Annotated[
        str | None, typer.Option(metavar="D", help="Where the data are now, if they are no longer where they were.")
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of the downloaded sets, if it is another one now.")
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="Whose functions may be run, if the network is package.module:function."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Default: analysis in the folder that is given, or here for several."),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    **said: Any,
) -> None:
    """Look into the networks of runs: what flips from base to compact, margins, calibration, corruptions."""
    asked = Asked(**given(Asked, said))
    from dnal.analyses import analyse, write_analysis
    from dnal.analyses.document import document_of
    from dnal.analyses.writing import check_folder
    from dnal.run.files import ANALYSIS

    folder = out or (runs[0] / ANALYSIS if len(runs) == 1 and runs[0].is_dir() else Path(ANALYSIS))
    check_folder(folder)
    tell = teller(quiet=quiet, as_json=as_json)
    found = analyse(runs, data=data, root=root, trust=trust or [], asked=asked, tell=tell)
    files = write_analysis(found, folder)
    for remark in found.remarks:
        say(f"note: {remark}")
    if as_json:
        names = {name: None if file is None else str(file) for name, file in files._asdict().items()}
        json_document({**document_of(found), "files": names})
        return
    if not quiet:
        line()
        rows = [
            (one.name, percent(one.accuracy), f"{100 * one.calibration.ece:.1f}",
             "-" if one.geometry is None else f"{float(one.margins.median()):.3g}")
            for one in found.networks
        ]  # fmt: skip
        table([("network", False), ("accuracy", True), ("ECE, points", True), ("median margin", True)], rows)
        for pair in found.pairs:
            counts, name = pair.flips.counts(), found.networks[pair.compact].name
            line(f"{name}: {counts['fragile']} examples are fragile, {counts['repaired']} repaired")
    line(str(files.page))
