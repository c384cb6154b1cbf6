"""Ways to keep few weights instead of few channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnal.base.errors import UserError, all_names
from dnal.base.options import options_of, value_of
from dnal.methods import METHODS, Method
from dnal.methods.sparsity.sparsifier import Sparsifier

SPARSIFIERS = {
    "magnitude": "magnitude-masks",
    "layer-magnitude": "layer-magnitude-masks",
    "random": "random-masks",
    "gradual": "gradual-masks",
    "edge-popup": "edge-popup",
}
"""The names of `dnal sparsify`, and those that the same methods have among all."""


def sparsifier(given: str | Method | Mapping[str, Any], **options: Any) -> Sparsifier:
    """A method that keeps few weights.

    Args:
        given: a name such as "magnitude", with options or without ("magnitude:rounds=5"), the values of its options
            with its name under "name", or an object. options: further ones, which go before those in ``given``; a text
            is read as one ("10%"), and None is as if it were not given.

    Raises:
        UserError: it does not keep weights, or has no such option.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(given, Sparsifier):
        values = METHODS.values(given)
    elif isinstance(given, str):
        name = METHODS.name_in(given)
        name, text = SPARSIFIERS.get(name, name), given[len(name) :].lstrip(":")
        if name not in METHODS.names() and ":" not in name:
            raise UserError(f"unknown method '{name}' of sparsify{all_names(name, SPARSIFIERS)}")
        values = METHODS.values(METHODS.read(f"{name}:{text}" if text else name)) if text else {"name": name}
    else:
        values = dict(given) if isinstance(given, Mapping) else METHODS.values(given)
        values["name"] = SPARSIFIERS.get(str(values.get("name")), values.get("name"))
    if not issubclass(METHODS.of(values["name"]), Sparsifier):
        raise UserError(
            f"the method '{values['name']}' keeps channels, not weights; sparsify has {', '.join(SPARSIFIERS)}, and "
            "`dnal learn` has the others."
        )
    known = {one.name: one for one in options_of(METHODS.of(values["name"]))}
    read = {
        name: value_of(known[name], value) if name in known and isinstance(value, str) else value
        for name, value in options.items()
    }
    found = METHODS.read({**values, **read})
    assert isinstance(found, Sparsifier)
    return found
