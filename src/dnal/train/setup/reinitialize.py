"""New weights for a network of any widths."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

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
    if isinstance(module, nn.MultiheadAttention):
        return partial(_reset_attention, module)
    renew = getattr(module, "reset_parameters", None)
    return renew if callable(renew) else None


def _reset_attention(module: nn.MultiheadAttention) -> None:
    """As torch's own ``_reset_parameters``, by the weights that there are: which those are, torch takes from the widths
    of inputs, and what has fewer heads knows it no more."""
    weights: list[Tensor | None] = [module.in_proj_weight]
    if weights == [None]:
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    for weight in weights:
        assert weight is not None
        nn.init.xavier_uniform_(weight)
    for bias in (module.in_proj_bias, module.out_proj.bias if module.in_proj_bias is not None else None):
        if bias is not None:
            nn.init.zeros_(bias)
    for extra in (module.bias_k, module.bias_v):
        if extra is not None:
            nn.init.xavier_normal_(extra)
