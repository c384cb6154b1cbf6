"""Weights of a network from a safetensors file, names and shapes strict."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from dnal.errors import UserError


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Fill all parameters and buffers of ``network`` in place from a safetensors file.

    Nothing is changed unless every name and shape agrees. Values are converted to the network's types and devices.

    Raises:
        UserError: no such file, not a safetensors file, or the first tensor (in the network's order) that differs.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no weights file {str(path)!r}; give the path of a safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            own = network.state_dict()
            _compare(own, shapes, path)
            with torch.no_grad():
                for name, tensor in own.items():
                    tensor.copy_(file.get_tensor(name))
    except SafetensorError as error:
        raise UserError(
            f"{str(path)!r} is not a safetensors file ({error}); "
            "write one with safetensors.torch.save_file(network.state_dict(), path)"
        ) from error


def _compare(own: dict[str, torch.Tensor], shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    for name, tensor in own.items():
        if name not in shapes:
            raise UserError(
                f"{str(path)!r} has no tensor {name!r}, which the network has; these weights are another network's"
            )
        if tuple(tensor.shape) != shapes[name]:
            raise UserError(
                f"tensor {name!r} has shape {shapes[name]} in {str(path)!r} and {tuple(tensor.shape)} in the network; "
                "create the network with the classes and input the weights were made for"
            )
    for name in shapes:
        if name not in own:
            raise UserError(
                f"{str(path)!r} has a tensor {name!r}, which the network has not; these weights are another network's"
            )
