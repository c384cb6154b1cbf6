"""Options in plain values, as a file has them: the arguments of `dnal learn`, and the job that they ask for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import typer

from dnal.base.errors import UserError, suggestion
from dnal.cli.job import JobRequest, given_options
from dnal.cli.learn import learn

PLACES = {
    "out": "the sweep names the folders of its trials",
    "overwrite": "the sweep names the folders of its trials",
    "like": "write the options themselves",
    "trust": "it belongs to --like",
    "devices": "a trial is one process, and the sweep says how many run at once",
    "nodes": "a trial is one process, and the sweep says how many run at once",
    "strategy": "a trial is one process, and the sweep says how many run at once",
    "against": "a trial is one run; let the method vary, or call `dnal learn --against`",
    "report": "`dnal report` makes one of all trials",
    "quiet": "the sweep tells what becomes of its trials",
    "json": "the sweep tells what becomes of its trials",
}
"""Options that say where a run goes, who runs it and what is printed, not what it is."""


def arguments_of(settings: Mapping[str, Any]) -> list[str]:
    """The arguments of `dnal learn`, from options by their names in config.yaml; None leaves an option out.

    Raises:
        UserError: an option that there is not, or a value of the wrong kind.
    """
    known = _options()
    arguments: list[str] = []
    for name, value in settings.items():
        if name in PLACES:
            raise UserError(f"'{name}' is no option of a trial: {PLACES[name]}.")
        if name not in known:
            hint = suggestion(name, known.keys() - PLACES.keys(), "`dnal learn --help` lists all.")
            raise UserError(f"unknown option '{name}'; {hint}")
        if value is not None:
            arguments += _arguments(name, value, known[name])
    return arguments


def job_of(arguments: list[str]) -> JobRequest:
    """The job of a call of `dnal learn`, checked as far as it goes without network and data.

    Raises:
        UserError: what the command itself would refuse.
    """
    try:
        parameters = _command().make_context("learn", list(arguments)).params
    except typer.BadParameter as error:
        raise UserError(f"{error.format_message().rstrip('.')}.") from None
    return JobRequest.of(given_options(parameters)).check()


def _arguments(name: str, value: Any, option: Any) -> list[str]:
    if option.is_flag:
        if not isinstance(value, bool):
            raise UserError(f"'{name}' is true or false, not {value!r}.")
        return [option.opts[0] if value else option.secondary_opts[0]]
    if isinstance(value, list) and option.multiple:
        return [argument for each in value for argument in _argument(option.opts[0], each)]
    return _argument(option.opts[0], ",".join(map(_text, value)) if isinstance(value, list) else value)


def _argument(option: str, value: Any) -> list[str]:
    text = _text(value)
    return [f"{option}={text}"] if text.startswith("-") else [option, text]


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


@functools.cache
def _command() -> Any:
    """`dnal learn` as Typer parses it."""
    program = typer.Typer(add_completion=False)
    program.command()(learn)
    return typer.main.get_command(program)


def _options() -> dict[str, Any]:
    """Its options by their names in config.yaml: budget, batch_size, lambda, ..."""
    found = {option.opts[0].removeprefix("--").replace("-", "_"): option for option in _command().params}
    return {name: option for name, option in found.items() if name != "help"}
