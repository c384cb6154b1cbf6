"""The `dnal` program: its commands and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from dnal.base.version import VERSION
from dnal.cli.analyse import analyse
from dnal.cli.bench import bench
from dnal.cli.data import data
from dnal.cli.doctor import doctor
from dnal.cli.evaluate import evaluate
from dnal.cli.examples import EXAMPLES, PROGRAM, epilogue
from dnal.cli.export import export
from dnal.cli.grow import grow
from dnal.cli.learn import learn
from dnal.cli.lists import methods, models, techniques
from dnal.cli.predict import predict
from dnal.cli.profile import profile
from dnal.cli.report import report
from dnal.cli.resume import resume
from dnal.cli.search import search
from dnal.cli.space import space
from dnal.cli.sparsify import sparsify
from dnal.cli.study import study
from dnal.cli.sweep import sweep
from dnal.cli.usage import Program

COMMANDS: dict[str, Callable[..., None]] = {
    "learn": learn,
    "sparsify": sparsify,
    "grow": grow,
    "search": search,
    "resume": resume,
    "sweep": sweep,
    "bench": bench,
    "study": study,
    "space": space,
    "profile": profile,
    "report": report,
    "analyse": analyse,
    "predict": predict,
    "eval": evaluate,
    "export": export,
    "models": models,
    "methods": methods,
    "techniques": techniques,
    "data": data,
    "doctor": doctor,
}

app = typer.Typer(
    name="dnal",
    cls=Program,
    help="Turn an over-parameterised PyTorch network into a small, fast, ordinary one by learning its architecture "
    "while it trains.",
    epilog=epilogue(PROGRAM),
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,  # its tracebacks show every local variable
)
for name, command in COMMANDS.items():
    app.command(name=name, epilog=epilogue(EXAMPLES[name]))(command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dnal {VERSION}")
        raise typer.Exit


@app.callback()
def _program(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main() -> None:
    """Entry point of the program `dnal`."""
    sys.unraisablehook = lambda event: None  # what an object says as it goes is no more than the sentence before
    app(prog_name="dnal")
