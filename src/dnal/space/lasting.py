"""Surroundings of a forward pass that are there again where a part of it runs a second time.

Activation checkpointing keeps few activations and computes the others again for the backward pass. By then the tensors
that stood in for a network's own, and the hooks on its layers, are gone: the second computation would silently be
another one than the first.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
import torch.utils.checkpoint as checkpointing
from torch import nn
from torch.autograd import Function

from dnal.base.errors import UserError

DEEPEST = 4
"""Functions within functions that are looked through for a module."""

Enter = Callable[[], AbstractContextManager[Any]]


class _Surroundings:
    """What ``enter`` gives, for as long as anything runs within: to enter it twice is to enter it once, since a part
    that runs again may hold another one that does."""

    def __init__(self, enter: Enter) -> None:
        self._enter, self._depth, self._lock = enter, 0, threading.Lock()
        self._entered: AbstractContextManager[Any] = nullcontext()

    def __enter__(self) -> None:
        with self._lock:
            if not self._depth:
                self._entered = self._enter()
                self._entered.__enter__()
            self._depth += 1

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._entered.__exit__(*error)
                self._entered = nullcontext()


class _Here(threading.local):
    """The surroundings of what runs in this thread, the outermost first."""

    surroundings: tuple[_Surroundings, ...] = ()


_here = _Here()


@contextmanager
def lasting(enter: Enter) -> Iterator[None]:
    """Runs a block within ``enter()``, and later whatever torch.utils.checkpoint computes again of it, too: there, what
    ``enter`` itself computed with gradients would pass for a part of that.

    Raises:
        UserError: in the block, where something else than torch.utils.checkpoint would run a module again.
    """
    if torch.compiler.is_compiling():  # what is compiled has no second run in Python
        with enter():
            yield
        return
    with _within((*_here.surroundings, _Surroundings(enter))):
        yield


@contextmanager
def _within(surroundings: tuple[_Surroundings, ...]) -> Iterator[None]:
    before = _here.surroundings
    with ExitStack() as stack:
        stack.enter_context(_patches)
        for one in surroundings:
            stack.enter_context(one)
        _here.surroundings = surroundings
        stack.callback(setattr, _here, "surroundings", before)
        yield


class _Patches:
    """Stands between torch and its checkpointing while any thread is in a block of :func:`lasting`."""

    def __init__(self) -> None:
        self._depth, self._lock = 0, threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if not self._depth:
                _Frame.__init__ = _frame
                _Function.apply = classmethod(_applied)
            self._depth += 1

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                _Frame.__init__ = _make_frame
                _Function.apply = _apply


_patches = _Patches()
_Function: Any = Function
_Frame: Any = checkpointing._CheckpointFrame
_make_frame, _apply = _Frame.__init__, vars(_Function)["apply"]


def _frame(self: Any, recompute: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    """Of a checkpointed part that is computed again by ``recompute``."""
    surroundings = _here.surroundings

    def again(*given: Any) -> None:
        with _within(surroundings):
            recompute(*given)

    _make_frame(self, again if surroundings else recompute, *args, **kwargs)


def _applied(cls: type[Function], *args: Any, **kwargs: Any) -> Any:
    """Function.apply. The older, reentrant form of checkpointing has a backward pass of its own for each part, which
    would free what all parts share of the graph behind the gates: it becomes the other form."""
    if not _here.surroundings:
        pass
    elif issubclass(cls, checkpointing.CheckpointFunction):
        function, keeps_random_state, *given = args
        return checkpointing.checkpoint(
            function, *given, use_reentrant=False, preserve_rng_state=keeps_random_state, determinism_check="none"
        )
    elif torch.is_grad_enabled() and any(map(_holds_module, args)):
        raise UserError(
            f"{cls.__module__}.{cls.__qualname__} runs a part of the network again for the backward pass, where its "
            "gates are gone; turn it off, or use torch.utils.checkpoint in its place."
        )
    return _apply.__get__(None, cls)(*args, **kwargs)


def _holds_module(given: Any, depth: int = 0) -> bool:
    """Whether this is a module, or a function that is a method of one or has one at hand."""
    if isinstance(given, nn.Module):
        return True
    if not callable(given) or depth > DEEPEST:
        return False
    held = [getattr(given, "__self__", None), *(getattr(given, "__defaults__", None) or ())]
    if isinstance(given, functools.partial):
        held += [given.func, *given.args, *given.keywords.values()]
    for cell in getattr(given, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    items = [item for one in held for item in (one if isinstance(one, (list, tuple)) else [one])]
    return any(_holds_module(item, depth + 1) for item in items)
