"""`dnal eval`: the figures of a run, recomputed from its saved network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dnal.cli import options
from dnal.cli.display import json_document, line
from dnal.cli.errors import errors_as_sentences, say

DISAGREES = 1


@errors_as_sentences
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `dnal learn` wrote.")],
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
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Recompute everything from the saved network and compare it with result.json (status 1 if it differs)."""
    from dnal import run as runs
    from dnal.cli.summary import print_apart, print_figures
    from dnal.run.change import read_change
    from dnal.run.config import read_config
    from dnal.run.files import RESULT

    found = runs.evaluate(run, data=data, root=root, trust=trust or [])
    if as_json:
        json_document(found)
    elif not quiet:
        change = read_change(run)
        config = read_config(run)
        print_figures(
            found["base"], found["compact"], found["deploy_batch_size"], found["backend"], change,
            kind=config.kind, objective=config.objective,
        )  # fmt: skip
        line()
        if "apart" in found:
            print_apart(found["apart"])
            line()
        if not found["differs"]:
            line(f"as {run / RESULT} says (latency is measured again and not compared)")
    if found["differs"]:
        say(f"'{run / RESULT}' says otherwise: {'; '.join(found['differs'])}.")
        raise typer.Exit(DISAGREES)
