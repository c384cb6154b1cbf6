"""A user's own network: ``package.module:function``."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from torch import nn

from dnal.base.errors import UserError, one_line

Shape = tuple[int, int, int]

CLASSES = ("classes", "num_classes", "n_classes")
CHANNELS = ("in_channels", "in_chans", "input_channels")


def create_from_function(name: str, *, classes: int | None, input_shape: Shape | None, pretrained: bool) -> nn.Module:
    """Import ``package.module:function`` and call it; it must return a network.

    The current directory is importable, as with ``python -m``. The function gets classes, input channels,
    ``input_shape`` and ``pretrained`` as keywords, each only if its signature names it (``classes``/``num_classes``,
    ``in_channels``/``in_chans``) and only if it was asked for. What the function itself raises is passed on.

    Raises:
        UserError: the module or function is not there, needs other arguments, is a network itself, or returns no
            nn.Module.
    """
    module_name, _, function_name = name.partition(":")
    function = _find(module_name, function_name, name)
    arguments = _arguments(function, name, classes, input_shape, pretrained)
    network = function(**arguments)
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{name!r} returned a {type(network).__name__}, not a torch.nn.Module; let it return the network"
        )
    return network


def _find(module_name: str, function_name: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        # It stays there: the function may import more of the user's modules when it is called, or in a forward pass.
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    if "\0" in name or not all((*module_name.split("."), *function_name.split("."))):
        raise UserError(f"{one_line(name, 80)!r} is no name of a function; write the model as package.module:function")
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise UserError(
                f"no module {module_name!r} for model {name!r} in the current directory or the Python path; "
                "run from the directory that holds it"
            ) from error
        raise UserError(f"module {module_name!r} of model {name!r} needs {error.name!r}; install it") from error
    for part in function_name.split("."):
        if part.startswith("__") or not hasattr(target, part):
            raise UserError(
                f"module {module_name!r} has no {function_name!r}; write the model as package.module:function"
            )
        target = getattr(target, part)
        if inspect.ismodule(target):
            # Who trusts a module does not trust whatever else it happens to import.
            raise UserError(f"{part!r} of {name!r} is a module of its own; write the model as package.module:function")
    if isinstance(target, nn.Module):
        # It would be the same one, trained or not, however often it is asked for, and know no seed.
        raise UserError(
            f"{name!r} is a network, and not a function that makes one; write `def build(): return ...` and give "
            f"{module_name}:build"
        )
    if not callable(target):
        raise UserError(f"{name!r} is a {type(target).__name__}, not a function that returns a network")
    return target


def _arguments(
    function: Any, name: str, classes: int | None, input_shape: Shape | None, pretrained: bool
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
        arguments |= {key: input_shape[0] for key in CHANNELS if key in known}
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
            f"give it defaults, or keywords of {', '.join((*CLASSES[:2], *CHANNELS[:1], 'input_shape'))}"
        ) from error
    return arguments
