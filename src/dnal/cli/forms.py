"""A command with several forms, such as `dnal predict fit` and `rank`: it refuses the options of another form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import typer

from dnal.base.errors import UserError

GIVEN = "COMMANDLINE"
"""Click's name for the source of a value that the user typed."""


def check_form(context: typer.Context, form: str, forms: Mapping[str, Iterable[str]]) -> None:
    """Refuses options that were given, but mean nothing in the form of the command that was called.

    Args:
        context: of the command. form: the one that was called, as it is typed, such as "dnal predict fit".
        forms: the options of each form, by the names of their parameters. Options that no form names belong to all.

    Raises:
        UserError: naming the option and where it belongs.
    """
    owners: dict[str, list[str]] = {}
    for one, names in forms.items():
        for name in names:
            owners.setdefault(name, []).append(one)
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        belongs = owners.get(str(parameter.name), [form])
        if form not in belongs and source is not None and source.name == GIVEN:
            places = " and ".join(f"`{one}`" for one in belongs)
            raise UserError(f"{parameter.opts[0]} belongs to {places}, and `{form}` has no use for it; leave it out.")
