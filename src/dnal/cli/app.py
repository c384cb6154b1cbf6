"""The `dnal` program: its commands and how it ends."""

from __future__ import annotations

from typing import Annotated

import typer

from dnal import __version__
from dnal.cli.bench import bench
from dnal.cli.evaluate import evaluate
from dnal.cli.export import export
from dnal.cli.learn import learn
from dnal.cli.lists import data, methods, models
from dnal.cli.profile import profile
from dnal.cli.resume import resume
from dnal.cli.space import space
from dnal.cli.sweep import sweep

app = typer.Typer(
    name="dnal",
    help="Turn an over-parameterised PyTorch network into a small, fast, ordinary one by learning its architecture "
    "while it trains.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # its tracebacks show every local variable
)
app.command(name="learn")(learn)
app.command(name="resume")(resume)
app.command(name="sweep")(sweep)
app.command(name="bench")(bench)
app.command(name="space")(space)
app.command(name="profile")(profile)
app.command(name="eval")(evaluate)
app.command(name="export")(export)
app.command(name="models")(models)
app.command(name="methods")(methods)
app.command(name="data")(data)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dnal {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the program `dnal`."""
    app(prog_name="dnal")
