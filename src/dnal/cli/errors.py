"""How a command ends badly: one sentence and a status."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import ParamSpec, TextIO

import typer

from dnal.base.errors import OptionError, UserError, one_line
from dnal.base.names import possible
from dnal.base.options import flag
from dnal.cli.display import document_alone
from dnal.cli.failures import sentence_of

P = ParamSpec("P")

BAD_INPUT = 2
INTERRUPTED = 130
LONGEST = 2000
"""Characters of a sentence, which may quote anybody's file."""


class Ended(Exception):
    """The command was stopped by a signal; ``status``: 128 and its number."""

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = 128 + number


def errors_as_sentences(command: Callable[P, None]) -> Callable[P, None]:
    """The command, with a UserError and what the machine lacks as one sentence (status 2), and a signal without a
    traceback (130, 143)."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with warnings.catch_warnings(), document_alone() if kwargs.get("as_json") else nullcontext():
                warnings.showwarning = _warn_in_a_sentence
                for value in kwargs.values():
                    for path in value if isinstance(value, list | tuple) else (value,):
                        if isinstance(path, Path):
                            possible(path)
                command(*args, **kwargs)
        except UserError as error:
            say(f"{flag(error.name)} {error.rest}" if isinstance(error, OptionError) else str(error))
            raise typer.Exit(BAD_INPUT) from None
        except Ended as ended:
            if str(ended):
                say(str(ended))
            raise typer.Exit(ended.status) from None
        except KeyboardInterrupt:
            say("interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            sentence = sentence_of(error)
            if sentence is None:
                raise
            say(sentence)
            raise typer.Exit(BAD_INPUT) from None

    return run


def say(sentence: str) -> None:
    """One line on stderr, whatever the sentence quotes."""
    print(f"dnal: {one_line(sentence, LONGEST)}", file=sys.stderr, flush=True)  # noqa: T201


def _warn_in_a_sentence(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    # Where in the code a warning was raised means nothing on the command line.
    say(f"note: {message}")
