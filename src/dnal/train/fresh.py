"""New weights for a network of any widths."""

from __future__ import annotations

import torch
from torch import nn

from dnal.base.errors import UserError


def reset(network: nn.Module, seed: int) -> None:
    """Draws all weights of ``network`` anew, in place, each layer as its own ``reset_parameters`` does, and puts
    statistics back to their start. The global random state stays as it was.

    Raises:
        UserError: for a module that owns parameters and does not say how they are drawn.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for path, module in network.named_modules():
            renew = getattr(module, "reset_parameters", None)
            if callable(renew):
                renew()
            elif any(True for _ in module.parameters(recurse=False)):
                raise UserError(
                    f"'{path}' ({type(module).__name__}) has no reset_parameters, so its weights cannot be drawn anew."
                )
