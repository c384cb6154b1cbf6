"""The source of a network's classes, as a fingerprint: equal shapes do not tell that its forward pass changed."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.fx import GraphModule


def fingerprint(network: nn.Module) -> str:
    """SHA-256 of the source code of all classes of the network's modules and of those they inherit from, without those
    of torch itself, whose version says enough. Code without a file (typed in a session) counts by its name alone."""
    found: dict[str, str] = {}
    for module in network.modules():
        if isinstance(module, GraphModule):
            found[f"graph {len(found)}"] = module.code
        for kind in type(module).__mro__:
            if kind.__module__.partition(".")[0] not in ("torch", "builtins"):
                found.setdefault(f"{kind.__module__}.{kind.__qualname__}", _source(kind))
    return hashlib.sha256("\0".join(f"{name}\0{found[name]}" for name in sorted(found)).encode()).hexdigest()


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # its module is not among the imported ones; its functions know their file
        members = [getattr(member, "__func__", getattr(member, "fget", member)) for member in vars(kind).values()]
        return "".join(_of_function(member) for member in members if inspect.isfunction(member))


def _of_function(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return function.__qualname__
