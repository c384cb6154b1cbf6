"""A network by name whose tensors have no memory yet, against which a file of tensors is held before it is believed."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from dnal.base.errors import UserError
from dnal.data.kind import Sizes
from dnal.models.create import create

logger = logging.getLogger(__name__)

SMALL = 2**14
"""Numbers in a parameter that may as well be real: modules make their tables where such a one of theirs is."""
ELSEWHERE = "build the network yourself and give it as network="


def outline(name: str, *, classes: int, input_shape: Sizes, kind: str | None = None) -> nn.Module:
    """The network of :func:`dnal.models.create` for its names and shapes alone: everything is on the meta device,
    except for small tensors with whose numbers a network reckons while it is built. The random state stays as it is.

    Args:
        name: no function of a user's: those make tensors as they like.

    Raises:
        UserError: as ``create``, or where the network cannot be built so.
    """
    with torch.random.fork_rng(devices=[]):
        return _on_meta(name, classes, input_shape, kind)


def memory_of(network: nn.Module) -> int:
    """Bytes of all tensors of a network, with those that its ``state_dict`` does not hold, on whatever device."""
    tensors = {id(tensor): tensor for tensor in [*network.parameters(), *network.buffers(), *_unwritten(network)]}
    return sum(tensor.nbytes for tensor in tensors.values())


def skeleton(name: str, *, classes: int, input_shape: Sizes, largest: int, kind: str | None = None) -> nn.Module:
    """The network of :func:`dnal.models.create`, its parameters on the meta device. The random state stays as it is.

    Buffers are on the meta device too, unless some have values that no file holds (position tables); then they and
    small parameters are real. ``load_weights`` gives memory to what has none.

    Args:
        name: no function of a user's: those make tensors as they like.
        largest: bytes that may be taken for values that no file holds.

    Raises:
        UserError: as ``create``, or where the network cannot be built so.
    """
    with torch.random.fork_rng(devices=[]):
        network = _on_meta(name, classes, input_shape, kind)
        unwritten = _unwritten(network)
        if not any(tensor.is_meta for tensor in unwritten):
            return network
        parameters = list(network.parameters())
        whole = sum(tensor.nbytes for tensor in [*unwritten, *network.buffers(), *parameters])
        # The largest parameter has memory for the moment between being made and being registered.
        large = [parameter.nbytes for parameter in parameters if parameter.numel() > SMALL]
        needed = whole - sum(large) + max(large, default=0)
        if needed <= largest:
            try:
                with _parameters_on_meta():
                    network = create(name, classes=classes, input_shape=input_shape, kind=kind)
                if not any(tensor.is_meta for tensor in _unwritten(network)):
                    return network
            except Exception as error:  # whatever a network raises that reckons with its parameters while it is built
                logger.debug("'%s' cannot be built with parameters on the meta device: %s", name, error)
            needed = whole
        if needed <= largest:
            return _built(name, classes, input_shape, kind)
        raise UserError(
            f"'{name}' for {kind or 'images'} of {','.join(map(str, input_shape))} needs {needed:,} bytes for what the "
            f"saved tensors do not tell, more than the {largest:,} that so small a file may ask for; {ELSEWHERE}."
        )


def _on_meta(name: str, classes: int, input_shape: Sizes, kind: str | None) -> nn.Module:
    try:
        with torch.device("meta"):
            return create(name, classes=classes, input_shape=input_shape, kind=kind)
    except Exception:  # whatever a network raises that reckons with numbers of a tensor while it is built
        with _LargeOnMeta():
            return _built(name, classes, input_shape, kind)


class _LargeOnMeta(TorchFunctionMode):
    """New tensors are on the meta device, except for small ones, whose numbers a network may compute with."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _device_constructors() or kwargs.get("device") is not None:
            return func(*args, **kwargs)
        shape = func(*args, **{**kwargs, "device": "meta"})
        return func(*args, **kwargs) if shape.numel() <= SMALL else shape


def _built(name: str, classes: int, input_shape: Sizes, kind: str | None) -> nn.Module:
    try:
        return create(name, classes=classes, input_shape=input_shape, kind=kind)
    except UserError:
        raise
    except Exception as error:  # torchvision, timm and torch raise whatever fits them
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        size = ",".join(map(str, input_shape))
        raise UserError(
            f"'{name}' cannot be built for {classes} classes and {kind or 'images'} of {size} ({reason}); {ELSEWHERE}."
        ) from error


def _unwritten(network: nn.Module) -> list[Tensor]:
    """The tensors of a network that its state_dict does not hold, each once."""
    found: dict[int, Tensor] = {}
    for module in network.modules():
        tensors = [module._buffers[name] for name in module._non_persistent_buffers_set]
        tensors += _tensors_in(
            {k: v for k, v in vars(module).items() if k not in ("_parameters", "_buffers", "_modules")}
        )
        found |= {id(tensor): tensor for tensor in tensors if tensor is not None}
    known = {id(tensor) for tensor in network.state_dict(keep_vars=True).values()}
    return [tensor for number, tensor in found.items() if number not in known]


def _tensors_in(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _tensors_in(item)]
    if isinstance(value, (list, tuple, set)):
        return [tensor for item in value for tensor in _tensors_in(item)]
    return []


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """A large parameter loses its memory when a module registers it; one that is shared stays shared."""
    here = threading.get_ident()
    made: dict[int, tuple[weakref.ref[nn.Parameter], nn.Parameter]] = {}

    def without_memory(_: nn.Module, __: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if threading.get_ident() != here:  # the hook is every thread's
            return None
        if parameter is None or parameter.is_meta or parameter.numel() <= SMALL:
            return None
        known = made.get(id(parameter))
        if known is None or known[0]() is not parameter:
            twin = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
            known = made[id(parameter)] = (weakref.ref(parameter), twin)
        return known[1]

    handle = register_module_parameter_registration_hook(without_memory)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()
