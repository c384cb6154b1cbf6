"""Which configuration of a family says the widths that a network has, where one does.

What each number of a configuration means is asked of the family itself: it is built without memory with the number
doubled, and the dimensions that move are those which the number says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch

from dnal.base.errors import UserError
from dnal.data.kind import Sizes
from dnal.models.huggingface.configuration import Configuration, configured
from dnal.models.huggingface.network import made

Shapes = Mapping[str, tuple[int, ...]]
Place = tuple[str, int | None]
"""A number of a configuration: its key, and where it is in a list."""
NO_WIDTH = re.compile(
    r"_.*|.*_token_id|num_labels|num_channels|image_size|patch_sizes?|strides?|vocab_size|type_vocab_size|.*_eps|"
    r"max_position_embeddings|.*dropout.*|.*_prob|.*_rate|initializer_.*|num_hidden_layers|depths|.*_init_value"
)
"""Numbers that say something of the data or of training, or how many layers there are."""
ROUNDS = 3
HEAD_DIM = "head_dim"


def said(configuration: Configuration, classes: int, sizes: Sizes, shapes: Shapes) -> Any:
    """The configuration, as an object of transformers, of a network whose tensors have these shapes.

    Args:
        configuration: of the network before removal. classes, sizes: as for :func:`configured`.
        shapes: by the tensors' names.

    Raises:
        UserError: no configuration says them, with the layer whose widths differ and what would give equal ones.
    """
    search = _Search(configuration, classes, sizes, shapes)
    for _ in range(ROUNDS):
        moved = [search.moved(place) for place in search.numbers() if search.now != shapes]
        # Two numbers that are equal may be those of one stream, which nothing leads from one width to another.
        values = search.numbers()
        pairs = [both for both in combinations(values, 2) if values[both[0]] == values[both[1]]]
        moved += [search.moved(*both) for both in pairs if search.now != shapes]
        if not any(moved):
            break
    if search.now != shapes:
        raise _unsaid(configuration, search.now, shapes)
    return configured(search.configuration, classes, sizes)


class _Search:
    """A configuration that comes nearer to shapes."""

    def __init__(self, configuration: Configuration, classes: int, sizes: Sizes, shapes: Shapes) -> None:
        self.configuration, self._classes, self._sizes, self._shapes = configuration, classes, sizes, shapes
        self.now: Shapes = {}
        now = self._built(configuration.document)
        assert now is not None  # of the run's own model
        self.now = now
        for name in now:
            if name not in shapes:
                raise UserError(
                    f"'{name.rpartition('.')[0]}' is left out of the network, which no configuration of "
                    f"{configuration.architecture} says; learn with --no-prune-blocks, or export it to onnx or pt2."
                )
        self._with_head_dim()

    def numbers(self) -> dict[Place, float]:
        """Numbers of the configuration, and those in its lists; how many heads there are before how wide they are."""
        values = configured(self.configuration, self._classes, self._sizes).to_dict()
        found: dict[Place, float] = {}
        for key in sorted(values, key=lambda name: name == HEAD_DIM):
            value = values[key]
            if NO_WIDTH.fullmatch(key):
                continue
            if _is_number(value):
                found[key, None] = value
            elif isinstance(value, list | tuple) and value and all(map(_is_number, value)):
                found |= {(key, at): one for at, one in enumerate(value)}
        return found

    def moved(self, *places: Place) -> bool:
        """Sets a number, or equal ones, to what all dimensions ask for that it says; whether that changed it."""
        value = self.numbers()[places[0]]
        double = self._built(self._with(places, 2 * value))
        if double is None:
            return False
        wanted = set()
        for name, shape in self.now.items():
            for has, more, target in zip(shape, double[name], self._shapes[name], strict=True):
                if more != has:
                    wanted.add(value + (target - has) * value / (more - has))
        if len(wanted) != 1 or wanted == {value}:
            return False
        (number,) = wanted
        if isinstance(value, int):
            if number != int(number):
                return False
            number = int(number)
        document = self._with(places, number)
        found = self._built(document)
        if found is None:
            return False
        self.configuration, self.now = replace(self.configuration, document=document), found
        return True

    def _with_head_dim(self) -> None:
        """Says how wide a head is, where a family reads that: fewer heads are then no narrower stream."""
        config = configured(self.configuration, self._classes, self._sizes)
        stream, heads = getattr(config, "hidden_size", None), getattr(config, "num_attention_heads", None)
        given = self.configuration.document
        if HEAD_DIM in given or not isinstance(stream, int) or not isinstance(heads, int) or not heads:
            return
        document = {**given, HEAD_DIM: stream // heads}
        double = self._built({**document, HEAD_DIM: 2 * (stream // heads)})
        if self._built(document) == self.now and double not in (None, self.now):
            self.configuration = replace(self.configuration, document=document)

    def _with(self, places: Sequence[Place], number: float) -> dict[str, Any]:
        known = configured(self.configuration, self._classes, self._sizes).to_dict()
        document = dict(self.configuration.document)
        for key, at in places:
            values = document.get(key, known[key])
            document[key] = number if at is None else [number if n == at else v for n, v in enumerate(values)]
        return document

    def _built(self, document: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
        """The shapes by name; None where the family builds no such network, or one of other tensors."""
        configuration = replace(self.configuration, document=document)
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                network = made(configuration, configured(configuration, self._classes, self._sizes))
        except UserError:
            return None
        found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        alike = not self.now or {name: len(found[name]) for name in found} == {n: len(s) for n, s in self.now.items()}
        return found if alike else None


def _unsaid(configuration: Configuration, now: Shapes, shapes: Shapes) -> UserError:
    """The sentence about what no configuration says."""
    other = [(name, dim) for name, shape in now.items() for dim, size in enumerate(shape) if size != shapes[name][dim]]
    name, dim = min(other, key=lambda one: one[1] != 0 or not one[0].endswith("weight"))
    layer, kind = name.rpartition(".")[0], _kind(name)
    widths = {other: shapes[other][dim] for other in shapes if _kind(other) == kind}
    unlike = next((each for each in widths if widths[each] != widths[name]), None)
    begin = f"no configuration of {configuration.architecture} says these widths: '{layer}' has {widths[name]} channels"
    if unlike is not None:
        return UserError(
            f"{begin}, and '{unlike.rpartition('.')[0]}' {widths[unlike]}, where it has one number for both; learn "
            "with --uniform-layers for equal widths, or export it to onnx or pt2."
        )
    return UserError(
        f"{begin}, and {now[name][dim]} by any configuration; learn with --exclude '{_kind(layer)}' and "
        "--uniform-layers, or export it to onnx or pt2."
    )


def _kind(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
