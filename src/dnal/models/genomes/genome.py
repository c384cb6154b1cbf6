"""A list of layers and its text: ``conv_16_3-max-fc_32``, kinds with their values, and a dash between layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dnal.base.errors import UserError, all_names, one_line

MOST_LAYERS = 128
"""Of a text, which may be anybody's."""
LONGEST = 80
"""Characters of a wrong text in a sentence."""

Value = int | str


class Layer(NamedTuple):
    """A layer: its kind, and the values that such a layer has, in their order.

    Examples:
        >>> str(Layer("conv", (16, 3)))
        'conv_16_3'
    """

    kind: str
    values: tuple[Value, ...] = ()

    def __str__(self) -> str:
        return "_".join(map(str, (self.kind, *self.values)))


Genome = tuple[Layer, ...]
"""The layers in their order, without what every network has at its end: a score per class."""
Form = Mapping[str, range | tuple[str, ...]]
"""The values that a kind of layer has, by name, and what each may be."""


def text_of(genome: Genome) -> str:
    """The text of a list of layers; :func:`parsed` reads it."""
    return "-".join(map(str, genome))


def parsed(text: str, forms: Mapping[str, Form]) -> Genome:
    """The layers of a text.

    Args:
        forms: of each kind that there is.

    Raises:
        UserError: naming the first part that is no layer, and what would be one.

    Examples:
        >>> parsed("conv_16_3-max", {"conv": {"channels": range(1, 65), "kernel": range(1, 8)}, "max": {}})
        (Layer(kind='conv', values=(16, 3)), Layer(kind='max', values=()))
    """
    parts = text.split("-")
    if len(parts) > MOST_LAYERS:
        raise UserError(f"a network by its layers has at most {MOST_LAYERS} of them, not {len(parts)}.")
    return tuple(_layer(part, forms) for part in parts)


def _layer(part: str, forms: Mapping[str, Form]) -> Layer:
    kind, *said = part.split("_")
    if kind not in forms:
        raise UserError(f"there is no layer '{one_line(kind, LONGEST)}'{all_names(kind[:LONGEST], list(forms))}")
    form = forms[kind]
    wrong = UserError(f"'{one_line(part, LONGEST)}' is no layer; write {_like(kind, form)}.")
    if len(said) != len(form):
        raise wrong
    values: list[Value] = []
    for word, allowed in zip(said, form.values(), strict=True):
        if isinstance(allowed, range):
            # One text per network: no sign, no zeros in front.
            if not (word.isascii() and word.isdigit() and len(word) < 10 and str(int(word)) == word):
                raise wrong
            if int(word) not in allowed:
                raise wrong
            values.append(int(word))
        elif word in allowed:
            values.append(word)
        else:
            raise wrong
    return Layer(kind, tuple(values))


def _like(kind: str, form: Form) -> str:
    """How such a layer is written."""
    if not form:
        return f"'{kind}'"
    names = "_".join((kind, *(name.upper() for name in form)))
    takes = "; ".join(
        f"{name.upper()}: {allowed[0]} to {allowed[-1]}" if isinstance(allowed, range)
        else f"{name.upper()}: {', '.join(allowed)}"
        for name, allowed in form.items()
    )  # fmt: skip
    return f"'{names}' ({takes})"
