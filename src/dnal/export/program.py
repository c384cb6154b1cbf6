"""A network as a torch.export program with a free batch: what every format is written from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_map

from dnal.base.errors import UserError
from dnal.export.inputs import varied
from dnal.space.inputs import Inputs, batch_size

BATCH = "batch"
"""What the free dimension is called."""

LARGEST = 2**31 - 1
"""Examples at once: PyTorch before 2.8 takes a size without a bound for one that a slice's end may meet."""

EXAMPLES = 2
"""In the batch of the export: PyTorch takes a size of 1 for a constant."""


def program_of(network: nn.Module, example: Inputs) -> ExportedProgram:
    """The network as one graph of PyTorch's own operations, for a batch of any size.

    Args:
        network: in eval mode, on the CPU.
        example: its inputs; dimension 0 of every tensor that has the batch size there is free.

    Raises:
        UserError: where PyTorch cannot export it so, with its reason.
    """
    size, batch = batch_size(example), Dim(BATCH, max=LARGEST)

    def free(leaf: Any) -> dict[int, Dim] | None:
        return {0: batch} if isinstance(leaf, Tensor) and leaf.dim() and leaf.size(0) == size else None

    def arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if isinstance(inputs, Mapping):
            return (), dict(inputs)
        return ((inputs,) if isinstance(inputs, Tensor) else tuple(inputs)), {}

    args, kwargs = arguments(varied(example, EXAMPLES))
    shapes = tree_map(free, arguments(example))
    try:
        return torch.export.export(network, args, kwargs, dynamic_shapes=shapes[1] or shapes[0], strict=False)
    except Exception as error:  # whatever the user's forward does under tracing
        raise UserError(
            f"PyTorch cannot export this network with a batch of any size ({first_line(error)}); write its forward "
            "without branches that look at the data and without the batch size as a number."
        ) from error


def first_line(error: Exception) -> str:
    """What an exception says, in one line."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
    # PyTorch tells which constraint it was behind a headline that says nothing.
    told = next((line for line in lines if not line.startswith("Constraints violated")), None)
    return (told or next(iter(lines), type(error).__name__)).rstrip(".")
