"""``NAME@SIZES``: the network of a name with layers of other sizes, such as one that grew or lost channels.

A network of which nothing but sizes changed is told by them: ``vgg_small@6,6,6x6,6,x6`` has 6 channels in its first two
convolutions and their norms. Between commas is a layer with tensors, in their order. Its sizes stand between "x"; one
that did not change is left out, and so is all behind the last one that did. Tensors of other sizes in the same layer
(the bias of a linear layer) follow after "+"; those that had one shape have one again. Where they have not, all tensors
of the layer are told, with "/" between them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import nn

from dnal.base.errors import UserError, one_line
from dnal.changes.growth import correct_groups
from dnal.models.huggingface.names import is_huggingface
from dnal.space.surgery.remove import Kept, removed
from dnal.space.surgery.tensors import named_tensors
from dnal.train.setup.reinitialize import check_resettable, reset

MARK = "@"
LONGEST = 2**12
"""Characters of such a name, as of every text in a run's folder."""
MOST_NUMBERS = 2**31
"""Weights of a layer: a text of a few characters may ask for more than any machine has."""

Shape = tuple[int, ...]
Layer = dict[Shape, list[str]]
"""The tensors of a layer by their shape."""


def is_resized(name: str) -> bool:
    """Whether a name says other sizes than those of the network that it names; code and places have none."""
    return MARK in name and ":" not in name and not is_huggingface(name)


def base_of(name: str) -> str:
    """The name without the sizes."""
    return name.partition(MARK)[0] if is_resized(name) else name


def layers_of(network: nn.Module) -> list[Layer]:
    """The tensors with a shape, layer by layer."""
    found: dict[str, Layer] = {}
    for name, tensor in named_tensors(network):
        if tensor.dim():
            found.setdefault(name.rpartition(".")[0], {}).setdefault(tuple(tensor.shape), []).append(name)
    return list(found.values())


def resized(network: nn.Module, name: str) -> nn.Module:
    """The network of such a name: with new weights, each layer's as its own ``reset_parameters`` draws them; where one
    has none, the first of those of the network given, and again from the first where there are more.

    Args:
        network: that of the name without the sizes; it is left as it is.

    Raises:
        UserError: sizes that the network has not.
    """
    layers, entries = layers_of(network), name.partition(MARK)[2].split(",")
    wrong = UserError(
        f"'{one_line(name, 80)}' says sizes that '{base_of(name)[:80]}' has not; give the run as --model again."
    )
    if len(name) > LONGEST or len(entries) > len(layers) or not re.fullmatch(r"[0-9x+/,]*", name.partition(MARK)[2]):
        raise wrong
    kept = Kept({})
    for layer, entry in zip(layers, entries, strict=False):
        alike, texts = [*layer.items()], entry.split("+")
        if "/" in entry:
            alike, texts = [(shape, [name]) for shape, names in alike for name in names], entry.split("/")
        if len(texts) > len(alike):
            raise wrong
        for (shape, names), text in zip(alike, texts, strict=False):
            sizes = _sizes(text, shape)
            if sizes is None:
                raise wrong
            own = tuple(
                None if size == whole else torch.arange(size) % whole for size, whole in zip(sizes, shape, strict=True)
            )
            kept |= dict.fromkeys(names, own)
    found = removed(network, kept)
    for ours, original in zip(found.modules(), network.modules(), strict=True):
        correct_groups(ours, original)
    try:
        check_resettable(found)
    except UserError:
        return found
    reset(found, int(torch.randint(2**31, (), device="cpu")))
    return found


def text_of(network: nn.Module, small: nn.Module) -> str | None:
    """The sizes of ``small`` that ``network`` has not, as text: "" for none; None where sizes do not tell it."""
    shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(small)}
    entries = []
    for layer in layers_of(network):
        found = [[shapes.get(name, ()) for name in names] for names in layer.values()]
        if any(len(left) != len(shape) for shape, own in zip(layer, found, strict=True) for left in own):
            return None
        texts = [[_text(left, shape) for left in own] for shape, own in zip(layer, found, strict=True)]
        if all(len(set(own)) == 1 for own in texts):
            entries.append("+".join(own[0] for own in texts).rstrip("+"))
        else:
            entries.append("/".join(text for own in texts for text in own))
    return ",".join(entries).rstrip(",")


def same_layers(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same modules, with the same numbers in their attributes and tensors of the same
    shapes: they compute the same of the same weights."""
    ours, theirs = dict(one.named_modules()), dict(other.named_modules())
    return list(ours) == list(theirs) and all(_plain(ours[path]) == _plain(theirs[path]) for path in ours)


def _plain(module: nn.Module) -> object:
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    numbers = {
        name: value for name, value in vars(module).items()
        if isinstance(value, int | float | str | tuple) and not name.startswith("_") and name != "training"
    }  # fmt: skip
    return type(module), numbers, {name: tuple(tensor.shape) for name, tensor in tensors}


def _text(sizes: Shape, shape: Shape) -> str:
    """Sizes that are not those of ``shape``."""
    return "x".join("" if size == whole else str(size) for size, whole in zip(sizes, shape, strict=True)).rstrip("x")


def _sizes(text: str, shape: Sequence[int]) -> Shape | None:
    """The sizes that a text says of a tensor; None where it has no such."""
    words = text.split("x")
    if len(words) > len(shape) or any(len(word) > 9 or word == "0" for word in words):
        return None
    said = [*words, *[""] * (len(shape) - len(words))]
    sizes = tuple(int(word) if word else whole for word, whole in zip(said, shape, strict=True))
    return sizes if 0 < math.prod(sizes) <= MOST_NUMBERS else None
