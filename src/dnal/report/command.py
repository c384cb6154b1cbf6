"""The commands that make a run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dnal.base.errors import UserError, printable
from dnal.base.options import Options, arguments_of, options_of
from dnal.base.registry import text_of_values
from dnal.methods import METHODS
from dnal.report.source import Source
from dnal.run.trust import code_in, trusting
from dnal.settings import GROUPS


def learn_command(source: Source) -> str:
    """What to type to repeat the run from nothing, with every option that was decided."""
    settings = source.settings
    arguments = ["dnal", "learn"]
    if settings.get("budget") is not None:
        arguments += ["--budget", str(settings["budget"])]
    if isinstance(settings.get("method"), Mapping):
        arguments += ["--method", text_of_values(settings["method"])]
    for technique in _techniques(settings):
        arguments += ["--with", text_of_values(technique)]
    for name in _left_out(settings):
        arguments += ["--without", name]
    for kind in GROUPS:
        arguments += _arguments(kind, settings)
    threads = settings.get("threads")
    # Sums over several threads are not the same numbers.
    start = f"OMP_NUM_THREADS={threads} " if type(threads) is int else ""
    return start + _typed(arguments)


def like_command(source: Source) -> str:
    """What to type where the run's folder is at hand: it repeats what timing decided too."""
    threads = source.settings.get("threads")
    start = f"OMP_NUM_THREADS={threads} " if type(threads) is int else ""
    return start + _typed(["dnal", "learn", "--like", str(source.folder), *trusting(code_in(source.settings))])


def remarks(source: Source) -> list[str]:
    """What the long command does not say."""
    settings = source.settings
    found = []
    if any(constraint.cost == "latency" for constraint in source.result.constraints):
        found.append("The long command times the layers again; the short one takes the run's own latency model.")
    if settings.get("device") == "cuda":
        found.append("On a GPU some sums come in another order every time, so that the last digits may differ.")
    return found


def versions(source: Source) -> list[tuple[str, str]]:
    """Software and machine, as far as the run wrote them down."""
    settings = source.settings
    shown = {
        "dnal": source.config.dnal,
        "torch": source.config.torch,
        "device": settings.get("device"),
        "processes": settings.get("processes"),
        "threads": settings.get("threads"),
        "precision": settings.get("precision"),
        "order of memory": settings.get("memory_format"),
        "seed": source.config.seed,
        "SHA-256 of the data": source.config.data_sha256,
    }
    return [(name, str(value)) for name, value in shown.items() if value is not None]


def _techniques(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = settings.get("techniques")
    return [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def _left_out(settings: Mapping[str, Any]) -> list[str]:
    """Techniques that the method has by default and the run has not. The file may be anybody's: nothing that it names
    is imported, except for what has a name here."""
    method, kept = settings.get("method"), [technique.get("name") for technique in _techniques(settings)]
    name = method.get("name") if isinstance(method, Mapping) else None
    if name not in METHODS.names():
        return []
    return [technique for technique in METHODS.of(str(name)).techniques if technique not in kept]


def _arguments(kind: type[Options], settings: Mapping[str, Any]) -> list[str]:
    """Those options of a kind that a run recorded. What is null there, or nothing that the option takes, is left out:
    the file may be anybody's."""
    found: list[str] = []
    for one in options_of(kind):
        if settings.get(one.name) is not None:
            with suppress(UserError):
                found += arguments_of(one, settings[one.name])
    return found


def _typed(words: list[str]) -> str:
    """What to type for these words, in one line that a terminal shows as it is."""
    return printable(shlex.join(words)).replace("\n", " ")
