"""`dnal models`, `dnal methods` and `dnal techniques`: what there is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dnal.base.errors import UserError, all_names
from dnal.base.registry import Registry
from dnal.cli import options
from dnal.cli.display import json_document, line, table
from dnal.cli.errors import errors_as_sentences
from dnal.cli.model_names import model_names


@errors_as_sentences
def models(
    filter_: Annotated[
        str | None, typer.Option("--filter", metavar="TEXT", help="Only names that contain this text.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only those for data of a kind: images, tables, text, graphs.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the models: dnal's own, those of installed packages, torchvision's and timm's."""
    known = model_names()
    kinds = list(dict.fromkeys(each for each in known.values() if each is not None))
    if kind not in (None, *kinds):
        raise UserError(f"unknown --kind '{kind}'{all_names(str(kind), kinds)}")
    found = [
        name
        for name, its_kind in known.items()
        if kind in (None, its_kind) and (filter_ is None or filter_.lower() in name.lower())
    ]
    if not found:
        raise UserError(f"no model's name contains '{filter_}'; `dnal models` lists all.")
    if as_json:
        json_document({"models": found})
        return
    for name in found:
        line(name)
    if filter_ is None and kind is None:
        line("package.module:function")


Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Of one: what it says of itself, its options.")]


@errors_as_sentences
def methods(name: Name = None, as_json: options.Json = False) -> None:
    """List the methods: what may choose an architecture. With a name: its card."""
    from dnal.methods import METHODS

    _cards(METHODS, name, as_json=as_json)


@errors_as_sentences
def techniques(name: Name = None, as_json: options.Json = False) -> None:
    """List the techniques: ways to train better, for --with. With a name: its card."""
    from dnal.techniques import TECHNIQUES

    _cards(TECHNIQUES, name, as_json=as_json)


def _cards(registry: Registry[Any], name: str | None, *, as_json: bool) -> None:
    """All things of a kind with a sentence each, or the card of one."""
    if name is None:
        found = [(each, _first_line(registry, each)) for each in registry.names()]
        if as_json:
            json_document({f"{registry.kind}s": [{"name": each, "what": what} for each, what in found]})
        else:
            table([(registry.kind, False), ("what it does", False)], found)
        return
    text, rows = registry.card(name)
    if as_json:
        keys = ("name", "takes", "default", "help")
        json_document({"name": name, "what": text, "options": [dict(zip(keys, row, strict=True)) for row in rows]})
        return
    line(text)
    if rows:
        line()
        table([("option", False), ("takes", False), ("default", False), ("", False)], rows)


def _first_line(registry: Registry[Any], name: str) -> str:
    """Of a card; one that another package brings and that cannot be imported says why."""
    try:
        return registry.card(name)[0].split("\n")[0]
    except UserError as error:
        return str(error)
