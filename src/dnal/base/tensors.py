"""Tensors as bytes: what goes into a file, and into a checksum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors.torch import save
from torch import Tensor


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, each in memory of its own and in the plain order: safetensors refuses tensors that share
    memory, and so every name is in the file."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, in the plain order of its numbers."""
    flat = tensor.detach().contiguous().reshape(-1)
    # A single number is contiguous with any stride, and the view below wants 1.
    return flat.as_strided(flat.shape, (1,), flat.storage_offset()).view(torch.uint8).numpy().data


def serialized(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The content of a safetensors file; tensors as of :func:`apart`.

    Raises:
        MemoryError: there is not enough for all of it at once.
    """
    try:
        return save(tensors, metadata)
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of its Rust code, which cannot say that it got no memory
            raise MemoryError("not enough memory to write the tensors") from None
        raise
