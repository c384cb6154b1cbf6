"""A network as a torch.export program with a free batch, and other free sizes: what every format is written from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_map

from dnal.base.errors import UserError
from dnal.export.inputs import varied
from dnal.export.sizes import Free
from dnal.space.surgery.inputs import Inputs, batch_size

BATCH = "batch"
"""What the free dimension is called."""

LARGEST = 2**31 - 1
"""Examples at once: PyTorch before 2.8 takes a size without a bound for one that a slice's end may meet."""

EXAMPLES = 2
"""In the batch of the export: PyTorch takes a size of 1 for a constant."""


def program_of(network: nn.Module, example: Inputs, free: Free) -> ExportedProgram:
    """The network as one graph of PyTorch's own operations, for a batch of any size.

    Args:
        network: in eval mode, on the CPU.
        example: its inputs; dimension 0 of every tensor that has the batch size there is free.
        free: the other sizes that are.

    Raises:
        UserError: where PyTorch cannot export it so, with its reason.
    """
    size, batch = batch_size(example), Dim(BATCH, max=LARGEST)
    numbers = itertools.count()

    def open_sizes(leaf: Any) -> dict[int, Any] | None:
        if not isinstance(leaf, Tensor):
            return None
        # Sizes may have to be large enough, or multiples of strides: PyTorch finds out, where they have no name.
        found: dict[int, Any] = dict.fromkeys(free.of(next(numbers)), Dim.AUTO)
        return found | ({0: batch} if leaf.dim() and leaf.size(0) == size else {}) or None

    def arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if isinstance(inputs, Mapping):
            return (), dict(inputs)
        return ((inputs,) if isinstance(inputs, Tensor) else tuple(inputs)), {}

    args, kwargs = arguments(varied(example, EXAMPLES))
    shapes: Any = tree_map(open_sizes, arguments(example))
    try:
        return torch.export.export(network, args, kwargs, dynamic_shapes=shapes[1] or shapes[0], strict=False)
    except Exception as error:  # whatever the user's forward does under tracing
        raise UserError(
            f"PyTorch cannot export this network with a batch of any size ({first_line(error)}); write its forward "
            "without branches that look at the data and without the batch size as a number."
        ) from error


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
    # PyTorch tells which constraint it was behind a headline that says nothing.
    cause = next((line for line in lines if not line.startswith("Constraints violated")), None)
    return (cause or next(iter(lines), type(error).__name__)).rstrip(".")
