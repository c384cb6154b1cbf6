"""compact: an architecture made real."""

from __future__ import annotations

import warnings

from torch import nn

from dnal.architecture import Architecture
from dnal.space.remove import removed


def compact(network: nn.Module, architecture: Architecture) -> nn.Module:
    """The network without its closed channels: a deep copy of the same classes and forward code with smaller tensors
    and corrected sizes (``in_channels``, ``num_features``, ...). The original is untouched. Needs no trace.

    Raises:
        UserError: if the architecture was made for another network.
    """
    architecture.check(network)
    if bool(architecture.open.all()):
        warnings.warn("compact removed nothing: every channel of the architecture is open.", stacklevel=2)
    if architecture.kept.baked:
        warnings.warn(
            f"compact made {len(architecture.kept.baked)} layers plain that compute their weight (weight "
            f"standardisation; the first is '{architecture.kept.baked[0]}'): the outputs are the same, "
            "but further training no longer normalises these weights.",
            stacklevel=2,
        )
    return removed(network, architecture.kept)
