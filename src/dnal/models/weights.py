"""Weights of a network from a safetensors file, names and shapes strict."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.base.names import possible


def load_weights(network: nn.Module, path: str | Path, *, remedy: str | None = None) -> None:
    """Fill all parameters and buffers of ``network`` in place from a safetensors file.

    Nothing is changed unless every name and shape agrees. Values are converted to the network's types and devices;
    tensors on the meta device get memory on the CPU, and only then.

    Args:
        remedy: what to do about a damaged or another file, where nobody wrote it by hand.

    Raises:
        UserError: no such file, not a safetensors file, or the first tensor (in the network's order) that differs.
    """
    path = possible(path, "path of the weights")
    with _opened(path, remedy) as file:
        _compare(network.state_dict(), _shapes(file), path, remedy)
        _give_memory(network)
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                tensor.copy_(file.get_tensor(name))


def tensor_shapes(path: str | Path, *, remedy: str | None = None) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a safetensors file by name; none of them is read.

    Args:
        remedy: as for :func:`load_weights`.

    Raises:
        UserError: no such file, or not a safetensors file.
    """
    with _opened(Path(path), remedy) as file:
        return _shapes(file)


@contextmanager
def _opened(path: Path, remedy: str | None) -> Iterator[Any]:
    if not path.is_file():
        raise UserError(f"no weights file {str(path)!r}; give the path of a safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        remedy = remedy or "write one with safetensors.torch.save_file(network.state_dict(), path)"
        raise UserError(f"{str(path)!r} is not a safetensors file ({error}); {remedy}") from error


def _shapes(file: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _give_memory(network: nn.Module) -> None:
    tensors = {id(tensor): tensor for tensor in network.state_dict(keep_vars=True).values()}
    for tensor in tensors.values():
        if tensor.is_meta:
            fresh: Tensor = torch.empty_like(tensor, device="cpu", requires_grad=False)
            if isinstance(tensor, nn.Parameter):
                fresh = nn.Parameter(fresh, requires_grad=tensor.requires_grad)
            if weakref.getweakrefs(tensor):
                _replace(network, tensor, fresh)
            else:  # in place: whatever else refers to it, a tied layer or an attribute, refers to the new one
                torch.utils.swap_tensors(tensor, fresh)


def _replace(network: nn.Module, tensor: Tensor, fresh: Tensor) -> None:
    """Puts another tensor wherever a module holds this one; recurrent layers follow their weights by weak references,
    and renew these."""
    for module in network.modules():
        for name, held in [*module._parameters.items(), *module._buffers.items()]:
            if held is tensor:
                setattr(module, name, fresh)


def _compare(own: dict[str, torch.Tensor], shapes: dict[str, tuple[int, ...]], path: Path, remedy: str | None) -> None:
    other = remedy or "these weights are another network's"
    for name, tensor in own.items():
        if name not in shapes:
            raise UserError(f"{str(path)!r} has no tensor {name!r}, which the network has; {other}")
        if tuple(tensor.shape) != shapes[name]:
            raise UserError(
                f"tensor {name!r} has shape {shapes[name]} in {str(path)!r} and {tuple(tensor.shape)} in the network; "
                + (remedy or "create the network with the classes and input the weights were made for")
            )
    for name in shapes:
        if name not in own:
            raise UserError(f"{str(path)!r} has a tensor {name!r}, which the network has not; {other}")
