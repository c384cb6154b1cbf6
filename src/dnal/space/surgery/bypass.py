"""A network without one of its branches: which modules go, and what stands in their place. Names only, never code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.space.surgery.edge import MixedEdge
from dnal.space.surgery.tensors import CACHE, is_a
from dnal.space.unscriptable import refuse_scripting


def within(path: str, module: str) -> bool:
    """Whether a path is this module or something in it."""
    return path == module or path.startswith(f"{module}.")


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The first argument, which may have been given by name."""
    return args[0] if args else next(iter(kwargs.values()))


LAYER = "layer_idx"
"""The attribute by which attention of transformers knows its layer of a cache."""
ATTENDED = ("encoder_hidden_states", "key_value_states")
"""The arguments of attention to another text."""


class _Instead(nn.Module):
    """What stands in a module's place; with ``results`` > 0 it gives its result as the first of so many, the others
    None. Where it stands for attention with the number ``layer_idx``, it fills that layer of a cache of keys and
    values: by the length of its layers a network knows how many tokens came before."""

    __prepare_scriptable__ = refuse_scripting

    def __init__(self, results: int = 0) -> None:
        super().__init__()
        self.results = results

    def _result(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = _first(args, kwargs)
        result = self._result(given)
        if all(kwargs.get(name) is None for name in ATTENDED):  # another text has a cache of its own, filled once
            for cache in (held for held in (*args, *kwargs.values()) if is_a(held, CACHE)):
                self._count(given, getattr(cache, "self_attention_cache", cache))
        return (result, *[None] * (self.results - 1)) if self.results else result

    def _count(self, given: Tensor, cache: Any) -> None:
        """Notes the tokens of (N, length, channels) in a cache, one number for each."""
        place = getattr(self, LAYER, None)
        if place is not None and given.dim() == 3:
            one = given.new_zeros(given.size(0), 1, given.size(1), 1)
            cache.update(one, one, place)

    def extra_repr(self) -> str:
        return f"results={self.results}" if self.results else ""


class Zero(_Instead):
    """Zeros like its first argument, in new memory. Like :class:`First` it has the settings of the module in whose
    place it stands, and None for each of its tensors: code that runs a module may ask it (torch's encoder asks its
    attention for ``batch_first``)."""

    def _result(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class First(_Instead):
    """Its first argument."""

    def _result(self, x: Tensor) -> Tensor:
        return x


class Replacement(NamedTuple):
    """What stands at ``path`` in the place of a module.

    ``kind``: "chain", modules in it (``children``, their paths in it, none in another) one after the other, an identity
    if there are none; "zero", :class:`Zero`, and "first", :class:`First`, both with ``results``; "absent", nothing: it
    is a candidate of a mixed edge.
    """

    path: str
    kind: str
    children: tuple[str, ...] = ()
    results: int = 0


KINDS = ("chain", "zero", "first", "absent")
HELPERS = ("zero", "first")
"""Those that put a class of dnal there."""

MOST_RESULTS = 64
"""Of a module in whose place they stand."""

SETTINGS = (bool, int, float, str, tuple, type(None))
"""The attributes of a module that its place keeps."""


def apart(children: Sequence[str]) -> bool:
    """Whether none of these modules is there twice, or in another: it would be two, and chains of chains would grow
    without end."""
    ordered = sorted(child.split(".") for child in children)  # what is in another one follows on it
    return not any(after[: len(one)] == one for one, after in pairwise(ordered))


class Bypass(NamedTuple):
    """How a network runs without a branch.

    ``places``: the parameters that scale the branch's result, so that the branch is zero where they are.
    """

    name: str
    places: tuple[str, ...]
    modules: tuple[Replacement, ...]

    def removes(self, path: str) -> bool:
        """Whether the module or tensor at ``path`` is gone."""
        for gone, _, children, _ in self.modules:
            if within(path, gone) and not any(within(path, f"{gone}.{child}") for child in children):
                return True
        return False


class Gone:
    """What goes with several bypasses: a path is looked for by the modules around it, however many there are."""

    def __init__(self, bypasses: Iterable[Bypass]) -> None:
        self._at: dict[str, list[int]] = {}
        self._staying: dict[str, set[tuple[int, str]]] = {}  # in the chains that stand at these paths
        for number, one in enumerate(bypasses):
            for path, _, children, _ in one.modules:
                self._at.setdefault(path, []).append(number)
                for child in children:
                    self._staying.setdefault(f"{path}.{child}", set()).add((number, path))

    def removers(self, path: str) -> Iterator[int]:
        """The numbers of the bypasses that remove the module or tensor at ``path``."""
        outer, stays = path, set[tuple[int, str]]()
        while outer:
            stays |= self._staying.get(outer, set())
            for number in self._at.get(outer, ()):
                if (number, outer) not in stays:
                    yield number
            outer = outer.rpartition(".")[0]


def outermost(bypasses: Iterable[Bypass]) -> list[Bypass]:
    """Without those whose modules are gone already with another one's."""
    bypasses = list(bypasses)
    gone = Gone(bypasses)

    def remains(number: int, one: Bypass) -> bool:
        others = [set(gone.removers(r.path)) - {number} for r in one.modules]
        return bool(others) and not set.intersection(*others)

    return [one for number, one in enumerate(bypasses) if remains(number, one)]


def bypass(network: nn.Module, bypasses: Iterable[Bypass]) -> None:
    """Takes the branches out of a network, in place.

    Raises:
        UserError: if the network has no such module.
    """
    edges = set()
    replacements = [replacement for one in outermost(bypasses) for replacement in one.modules]
    # The inner ones first: a chain takes what stands in its module by then.
    for replacement in sorted(replacements, key=lambda r: -r.path.count(".")):
        parent, _, name = replacement.path.rpartition(".")
        try:
            module = network.get_submodule(replacement.path)
            kept = [module.get_submodule(child) for child in replacement.children]
        except AttributeError:
            raise UserError(
                f"the architecture belongs to another network: no module '{replacement.path}' with the children "
                f"{list(replacement.children)}."
            ) from None
        if replacement.kind == "absent":
            edges.add(_without(network, parent, name))
            continue
        made = _made(replacement, kept, module)
        made.training = module.training
        setattr(network.get_submodule(parent), name, made)

    for edge in sorted(edges, key=len, reverse=True):  # the inner ones first
        module = network.get_submodule(edge)
        assert isinstance(module, MixedEdge)
        simpler = module.simplified()
        if simpler is not module and edge:
            parent, _, name = edge.rpartition(".")
            setattr(network.get_submodule(parent), name, simpler)


def _without(network: nn.Module, parent: str, name: str) -> str:
    """Takes a candidate out of a mixed edge; the path of the edge."""
    edge = parent.removesuffix("candidates").removesuffix(".")
    holder = network.get_submodule(edge)
    if not isinstance(holder, MixedEdge) or network.get_submodule(parent) is not holder.candidates:
        raise UserError(f"the architecture belongs to another network: '{edge}' is no mixed edge.")
    del holder.candidates._modules[name]
    if not len(holder.candidates) and not holder.shortcut:
        raise UserError(f"the architecture leaves the mixed edge '{edge}' without a candidate.")
    return edge


def _made(replacement: Replacement, kept: list[nn.Module], original: nn.Module) -> nn.Module:
    if replacement.kind in HELPERS:
        made = (Zero if replacement.kind == "zero" else First)(replacement.results)
        for name, value in vars(original).items():
            if name not in vars(made) and isinstance(value, SETTINGS):
                setattr(made, name, value)
        for name in (*original._parameters, *original._buffers):
            made.register_parameter(name, None)
        return made
    _leave_alone(kept)
    if not kept:
        return nn.Identity()
    return kept[0] if len(kept) == 1 else nn.Sequential(*kept)


def _leave_alone(chain: list[nn.Module]) -> None:
    """The first module of a chain works on what its block was given, no longer on a sum of its own: written in place,
    it would be lost for the backward pass of what made it."""
    first = next((module for module in chain if not isinstance(module, nn.Identity)), None)
    if getattr(first, "inplace", False) is True:
        first.inplace = False  # type: ignore[union-attr]
