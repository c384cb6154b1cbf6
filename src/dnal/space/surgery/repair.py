"""Numbers in a network's code, corrected for the compact network.

A module that remembers the number gets its attribute changed, a graph of torch.fx the argument of its node. Where the
code computes it from something else (``C // num_heads`` with C from a stream that stayed), the module's class becomes a
subclass of itself whose forward runs the user's own under a mode that gives the call the right number. A subclass, not
a forward function on the instance: a deep copy must run on its own parameters.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode

from dnal.base.errors import UserError
from dnal.space.graphs import set_in_graph
from dnal.space.surgery.sizes import (
    ANSWER,
    Argument,
    Attribute,
    Change,
    asks_for_shape,
    function_name,
    numbers,
    sized,
    with_numbers,
)
from dnal.space.unscriptable import refuse_scripting, refuse_symbols


class Rewrites(dict[Argument, tuple[int, int, bool]]):
    """Argument -> (old, new, multiple); ``used`` remembers which were needed."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.used: set[Argument] = set()

    @property
    def answers(self) -> bool:
        """Whether a shape that a module asks for is another one."""
        return any(argument.function == ANSWER for argument in self)

    def number(self, argument: Argument, given: int | torch.SymInt | Tensor) -> int | torch.SymInt | Tensor:
        for target in (argument, argument._replace(which=-1)):
            old, new, multiple = self.get(target, (0, 0, False))
            if isinstance(given, torch.SymInt):
                # A free batch, or a multiple of it: to compare a symbol would bind it.
                if old and old == new:
                    self.used.add(target)
                    return new
                if multiple:
                    self.used.add(target)
                    return given // old * new
            elif old and old == new and given not in (old, -1):  # the code computes it from what has changed
                self.used.add(target)
                return new
            elif old and (given % old == 0 if multiple and given > 0 else given == old):
                self.used.add(target)
                return given // old * new
        return given

    def add(self, change: Change) -> None:
        """Corrects a number that the code gives, or what earlier removals have made of it."""
        target = change.target
        assert isinstance(target, Argument)
        every = target._replace(which=-1)
        own = {
            known: old
            for known, (old, new, _) in self.items()
            if known._replace(which=-1) == every and new == change.old
        }
        self[target] = (own.get(target, own.get(every, change.old)), change.new, change.multiple)
        for known, old in own.items() if target == every else []:
            self[known] = (old, change.new, change.multiple)


class Rewriter(TorchFunctionMode):
    """Gives the calls of a forward pass the numbers of :class:`Rewrites`."""

    def __init__(self, rewrites: Rewrites) -> None:
        super().__init__()
        self._rewrites = rewrites
        self._calls: Counter[tuple[str, int]] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        first = sized(name, args)
        if self._rewrites.answers and asks_for_shape(func):
            return self._answered(func, args, kwargs)
        if first is not None:
            count = len(numbers((args[first:], kwargs)))
            which = self._calls[name, count]
            self._calls[name, count] += 1
            rest, kwargs = with_numbers(
                (args[first:], kwargs), lambda p, n: self._rewrites.number(Argument(name, count, p, which), n)
            )
            args = (*args[:first], *rest)
        return func(*args, **kwargs)

    def _answered(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The shape that a module asks for, or one of its sizes, as it is in the original."""
        found, length = func(*args, **kwargs), args[0].dim()
        which = self._calls[ANSWER, length]
        self._calls[ANSWER, length] += 1

        def size(dim: int, given: Any) -> Any:
            return self._rewrites.number(Argument(ANSWER, length, dim, which), given)

        asked = args[1] if len(args) > 1 else kwargs.get("dim")
        if isinstance(asked, int):
            return size(asked % length, found)
        return torch.Size([size(dim, given) for dim, given in enumerate(found)])


_REPAIRED: dict[type[nn.Module], type[nn.Module]] = {}


def repaired_class(kind: type[nn.Module]) -> type[nn.Module]:
    """A subclass of ``kind`` that computes the same with the numbers of its attribute ``rewritten_sizes``."""
    if kind in _REPAIRED:
        return _REPAIRED[kind]

    @functools.wraps(kind.forward)  # its arguments have names that exporters look for
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        refuse_symbols(self, (*args, *kwargs.values()))
        with Rewriter(self.rewritten_sizes):  # type: ignore[arg-type]
            return kind.forward(self, *args, **kwargs)

    def reduce(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
        return _restored, (kind,), self.__getstate__()

    members = {
        "forward": forward,
        "__reduce_ex__": reduce,
        "__prepare_scriptable__": refuse_scripting,
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
    }
    _REPAIRED[kind] = type(kind.__name__, (kind,), members)
    return _REPAIRED[kind]


def _restored(kind: type[nn.Module]) -> nn.Module:
    """An empty module of the repaired class, for copy and pickle."""
    made = repaired_class(kind)
    return made.__new__(made)


def repair(network: nn.Module, changes: Iterable[Change]) -> None:
    """Applies the changes to a compact network, in place.

    Raises:
        UserError: if the network has no such module or attribute.
    """
    graphs: set[GraphModule] = set()
    for change in changes:
        try:
            module = network.get_submodule(change.path)
        except AttributeError:
            raise UserError(f"the architecture belongs to another network: no module '{change.path}'.") from None
        if isinstance(change.target, Attribute):
            if isinstance(module, GraphModule) and not _held(module, change):
                set_in_graph(module, change)
                graphs.add(module)
            else:
                _set(module, change.target, change)
            continue
        rewrites: Rewrites = vars(module).setdefault("rewritten_sizes", Rewrites())
        if type(module) not in _REPAIRED.values():
            module.__class__ = repaired_class(type(module))
        rewrites.add(change)
    for graph in graphs:
        graph.recompile()


def _held(module: nn.Module, change: Change) -> bool:
    """Whether the module remembers the number that changes."""
    name, item = change.target[:2]
    value = vars(module).get(name)
    held = [value] if item < 0 and type(value) is int else numbers(value) if item >= 0 else []
    return max(item, 0) < len(held) and held[max(item, 0)] == change.old


def _set(module: nn.Module, attribute: Attribute, change: Change) -> None:
    name, item = attribute
    if not _held(module, change):
        raise UserError(f"the architecture belongs to another network: '{change.path}.{name}' is not {change.old}.")
    value = vars(module)[name]
    setattr(module, name, change.new if item < 0 else with_numbers(value, lambda p, n: change.new if p == item else n))
