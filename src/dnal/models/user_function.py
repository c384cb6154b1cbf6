"""A user's own network: ``package.module:function``."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from dnal.base.errors import UserError
from dnal.base.place import found_at
from dnal.data.kind import Kind, Sizes

CLASSES = ("classes", "num_classes", "n_classes")


def create_from_function(
    name: str,
    *,
    classes: int | None,
    input_shape: Sizes | None,
    pretrained: bool,
    kind: Kind,
    place: str | None = None,
) -> nn.Module:
    """Import ``package.module:function`` and call it; it must return a network.

    The current directory is importable, as with ``python -m``. The function gets classes, the sizes of its inputs,
    ``input_shape`` and ``pretrained`` as keywords, each only if its signature names it (``classes``/``num_classes``;
    of images ``in_channels``/``in_chans``, of tables and graphs ``features``, of text ``length`` and ``tokens``) and
    only if it was asked for. What the function itself raises is passed on.
    ``place``: where it stands, if its ``name`` is another one.

    Raises:
        UserError: the module or function is not there, needs other arguments, is a network itself, or returns no
            nn.Module.
    """
    function = _find(name, place or name)
    arguments = _arguments(function, name, classes, input_shape, pretrained, kind)
    network = function(**arguments)
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{name!r} returned a {type(network).__name__}, not a torch.nn.Module; let it return the network"
        )
    return network


def _find(name: str, place: str) -> Any:
    target = found_at(place, "model", None if place == name else name)
    if isinstance(target, nn.Module):
        # It would be the same one, trained or not, however often it is asked for, and know no seed.
        raise UserError(
            f"{name!r} is a network, and not a function that makes one; write `def build(): return ...` and give "
            f"{place.partition(':')[0]}:build"
        )
    if not callable(target):
        raise UserError(f"{name!r} is a {type(target).__name__}, not a function that returns a network")
    return target


def _arguments(
    function: Any, name: str, classes: int | None, input_shape: Sizes | None, pretrained: bool, kind: Kind
) -> dict[str, Any]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise UserError(
            f"{name!r} does not tell which arguments it takes; write a function of your own that returns the network"
        ) from None
    known = {
        key
        for key, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    arguments: dict[str, Any] = {}
    if classes is not None:
        arguments |= {key: classes for key in CLASSES if key in known}
    if input_shape is not None:
        arguments |= {key: size for key, size in kind.arguments(input_shape).items() if key in known}
        if "input_shape" in known:
            arguments["input_shape"] = input_shape
    if pretrained:
        if "pretrained" not in known:
            raise UserError(f"{name!r} has no keyword 'pretrained'; give a safetensors file of weights instead")
        arguments["pretrained"] = True
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise UserError(
            f"{name!r} cannot be called with what is known here ({error}); "
            f"give it defaults, or keywords of {', '.join((*CLASSES[:2], *_sizes(kind), 'input_shape'))}"
        ) from error
    return arguments


def _sizes(kind: Kind) -> list[str]:
    """The first name of each size that a function may ask for."""
    arguments = kind.arguments(kind.usual)
    return [name for at, (name, size) in enumerate(arguments.items()) if size not in list(arguments.values())[:at]]
