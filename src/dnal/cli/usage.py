"""The program as a group of commands: what is said of a wrong call, and no colour where none belongs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from typer import rich_utils
from typer.core import TyperGroup

from dnal.base.errors import suggestion
from dnal.cli.errors import BAD_INPUT, say


class Program(TyperGroup):
    """Answers a wrong call with one sentence and the nearest name that exists, as all other wrong input."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in self.commands and not name.startswith("-"):
            say(f"there is no command '{name}'; {suggestion(name, self.commands, '`dnal --help` lists all.')}")
            sys.exit(BAD_INPUT)
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        # Typer's help would be in colour also in a pipe, if GITHUB_ACTIONS or FORCE_COLOR are set.
        rich_utils.FORCE_TERMINAL = sys.stdout.isatty()
        if os.environ.get("NO_COLOR"):
            rich_utils.COLOR_SYSTEM = None
        try:
            status = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except Exception as error:
            if not hasattr(error, "format_message"):  # Click's own, which some versions of Typer bring along
                raise
            say(sentence_of(error))
            sys.exit(BAD_INPUT)
        sys.exit(status if isinstance(status, int) else 0)


def sentence_of(error: Any) -> str:
    """What is wrong with a call, and what would be right."""
    context = error.ctx
    command = "dnal" if context is None else context.command_path
    wrong = getattr(error, "option_name", None)
    if wrong is not None and context is not None:
        known = [name for parameter in context.command.params for name in (*parameter.opts, *parameter.secondary_opts)]
        return f"there is no option '{wrong}'; {suggestion(wrong, known, f'`{command} --help` lists all.')}"
    said = error.format_message().rstrip(".")
    return f"{said[:1].lower()}{said[1:]}; `{command} --help` has an example."
