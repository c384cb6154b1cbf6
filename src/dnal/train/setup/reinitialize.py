"""New weights for a network of any widths."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from dnal.base.errors import UserError


def check_resettable(network: nn.Module) -> None:
    """Refuses a network of which :func:`reset` could not draw all weights.

    Raises:
        UserError: naming the module that owns parameters and does not say how they are drawn.
    """
    for path, module in network.named_modules():
        own = next((name for name, _ in module.named_parameters(recurse=False)), None)
        if own is not None and _renewal(module) is None:
            where = f"'{path}' ({type(module).__name__})" if path else f"the network itself ({type(module).__name__})"
            raise UserError(
                f"{where} has no reset_parameters, so its '{own}' cannot be drawn again; give its class one, or "
                "retrain with reinitialize=False."
            )


def reset(network: nn.Module, seed: int) -> None:
    """Draws all weights of ``network`` again, in place, each layer as its own ``reset_parameters`` does, and puts
    statistics back to their start. The global random state stays as it was.

    Raises:
        UserError: as :func:`check_resettable`.
    """
    check_resettable(network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in network.modules():
            renew = _renewal(module)
            if renew is not None:
                renew()


def _renewal(module: nn.Module) -> Callable[[], None] | None:
    renew = getattr(module, "reset_parameters", None)
    if isinstance(module, nn.MultiheadAttention):  # torch calls it so there alone
        renew = module._reset_parameters
    return renew if callable(renew) else None
