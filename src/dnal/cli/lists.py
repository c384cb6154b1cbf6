"""`dnal models`, `dnal methods` and `dnal data`: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from dnal.base.errors import UserError
from dnal.cli import options
from dnal.cli.display import json_document, line, table
from dnal.cli.errors import told


@told
def models(
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="TEXT", help="Only names that contain this text.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the models: dnal's own, torchvision's and timm's."""
    from dnal.models import names

    found = [name for name in names() if filter_ is None or filter_.lower() in name.lower()]
    if not found:
        raise UserError(f"no model's name contains '{filter_}'; `dnal models` lists all.")
    if as_json:
        json_document({"models": found})
        return
    for name in found:
        line(name)
    if filter_ is None:
        line("package.module:function")


@told
def methods(as_json: options.Json = False) -> None:
    """List the methods: who may choose an architecture."""
    from dnal.methods import methods as known

    found = [(name, (method.choose.__doc__ or "").split("\n")[0]) for name, method in known().items()]
    if as_json:
        json_document({"methods": [{"name": name, "what": what} for name, what in found]})
    else:
        table([("method", False), ("what it does", False)], found)


@told
def data(as_json: options.Json = False) -> None:
    """List the data sets."""
    from dnal.data import names

    if as_json:
        json_document({"data": [{"name": name, "what": what} for name, what in names()]})
    else:
        table([("data", False), ("what it is", False)], names())
