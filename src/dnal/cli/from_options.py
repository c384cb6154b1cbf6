"""The options of a thing as options of a command: their names, help and what they take come from its fields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, get_args

import typer

from dnal.base.options import Option, Options, checked, flag, options_of, value_of

Command = Callable[..., None]


def taking(kinds: Mapping[type[Options], str]) -> Callable[[Command], Command]:
    """A command that also takes all options of these kinds, each under a heading of its help.

    They come to the command as keywords: None where it was not given, else as the command line has them; :func:`given`
    reads them.
    """

    def add(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        more = [_parameter(one, panel) for kind, panel in kinds.items() for one in options_of(kind)]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*more, *own)]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
        return command

    return add


def given(kind: type[Options], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those options of a kind that were given, as values.

    Raises:
        UserError: naming the option and what it takes.
    """
    values: dict[str, Any] = {}
    for one in options_of(kind):
        said = parameters.get(one.name)
        if said is None or (isinstance(said, list | tuple) and not said):
            continue
        values[one.name] = read(kind, one.name, said)
    return values


def read(kind: type[Options], name: str, said: Any) -> Any:
    """A value of an option as the command line has it: a text, a list of texts, or a number or truth value already.

    Raises:
        UserError: naming the option, as it is written there, and what it takes.
    """
    one = next(one for one in options_of(kind) if one.name == name)
    as_written = replace(one, name=flag(name))
    if isinstance(said, str):
        return value_of(as_written, said.strip(), ",")
    return checked(as_written, said)


def _parameter(one: Option, panel: str) -> inspect.Parameter:
    about: dict[str, Any] = {"help": _help(one), "rich_help_panel": panel}
    annotation: Any
    if bool in (one.kind, *get_args(one.kind)):
        annotation = Annotated[
            bool | None, typer.Option(f"{flag(one.name)}/--no-{flag(one.name).removeprefix('--')}", **about)
        ]
    elif one.kind == tuple[str, ...]:
        annotation = Annotated[list[str] | None, typer.Option(flag(one.name), metavar="P", **about)]
    else:
        annotation = Annotated[str | None, typer.Option(flag(one.name), metavar=_metavar(one), **about)]
    return inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _help(one: Option) -> str:
    repeated = one.help if one.kind != tuple[str, ...] else f"{one.help.rstrip('.')}; repeatable."
    if one.default is None or one.default == () or "efault" in one.help or isinstance(one.default, bool):
        return repeated
    return f"{repeated} Default: {one.default}."


def _metavar(one: Option) -> str:
    """What stands for a value in the help."""
    if one.known:
        return "|".join(one.known) if len(one.known) <= 4 else one.name[0].upper()
    words = []
    for kind in get_args(one.kind) or (one.kind,):
        if kind is int:
            words.append("N")
        elif kind is float:
            words.append("X")
        elif getattr(kind, "__origin__", None) is tuple:
            parts = get_args(kind)
            words.append("N,N,..." if parts[-1] is Ellipsis else ",".join("N" * len(parts)))
        elif isinstance(kind, str):  # a word of a Literal
            words.append(kind)
        elif get_args(kind):
            words += [str(word) for word in get_args(kind)]
        elif kind is str:
            words.append(one.name.upper())
    return "|".join(dict.fromkeys(words))
