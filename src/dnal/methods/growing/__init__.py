"""Networks that grow: new neurons in closed form, where the loss misses them most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dnal.base.errors import UserError, all_names
from dnal.base.options import options_of, value_of
from dnal.methods import METHODS, Method
from dnal.methods.growing.closed_form import (
    Bottleneck,
    Neurons,
    bottleneck,
    gradmax_neurons,
    neurons,
    random_neurons,
)
from dnal.methods.growing.grown import Grown
from dnal.methods.growing.one_growth import KINDS, Added, Growing, grow

if TYPE_CHECKING:
    from dnal.methods.growing.rounds import Grower

__all__ = [
    "KINDS",
    "Added",
    "Bottleneck",
    "Growing",
    "Grown",
    "Neurons",
    "bottleneck",
    "gradmax_neurons",
    "grow",
    "grower",
    "neurons",
    "random_neurons",
]


def grower(given: str | Method | Mapping[str, Any], **options: Any) -> Grower:
    """A method that makes networks wider by new neurons.

    Args:
        given: a name such as "tiny", with options or without ("tiny:rounds=5"), the values of its options with its name
            under "name", or an object. options: further ones, which go before those in ``given``; a text is read as
            one, and None is as if it were not given.

    Raises:
        UserError: it grows nothing, or has no such option.
    """
    from dnal.methods.growing.rounds import Grower  # which trains

    if isinstance(given, str) and (name := METHODS.name_in(given)) not in METHODS.names() and ":" not in name:
        raise UserError(f"unknown method '{name}' of grow{all_names(name, KINDS)}")
    values = METHODS.values(METHODS.read(given))
    known = {one.name: one for one in options_of(METHODS.of(str(values["name"])))}
    for name, value in options.items():
        if value is not None:
            values[name] = value_of(known[name], value) if name in known and isinstance(value, str) else value
    if not issubclass(METHODS.of(str(values["name"])), Grower):
        raise UserError(
            f"the method '{values['name']}' adds no neurons; grow has {', '.join(KINDS)}, and `dnal learn` has the "
            "others."
        )
    found = METHODS.read(values)
    assert isinstance(found, Grower)
    return found
