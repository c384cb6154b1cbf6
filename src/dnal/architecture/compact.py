"""compact: an architecture made real."""

from __future__ import annotations

import warnings

from torch import nn

from dnal.architecture.architecture import Architecture
from dnal.base.errors import UserError
from dnal.space.surgery.agree import Unusable, agrees, fails_in_training
from dnal.space.surgery.remove import removed


def compact(network: nn.Module, architecture: Architecture, check: bool = True) -> nn.Module:
    """The network without its closed channels: a deep copy of the same classes and forward code with smaller tensors
    and corrected sizes (``in_channels``, ``num_features``, ...). The original is untouched. Needs no trace. The modules
    in ``Space.helped`` become subclasses of their class, which need dnal to run.

    Args:
        check: run both networks on noise like the example inputs of the Space (two forward passes each) and compare
            them before the compact one is handed out; and run the compact one in training mode if the original does.
            Skipped where the architecture's file does not describe them.

    Raises:
        UserError: if the architecture was made for another network, or if the compact network computes something else
            than the original with zeros in the place of the closed channels, or fails in training mode.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> space = dnal.Space.of(network, torch.randn(2, 3, 8, 8))
        >>> dnal.compact(network, dnal.Architecture.random(space, keep=0.25))
        Sequential(
          (0): Conv2d(3, 2, kernel_size=(3, 3), stride=(1, 1))
          (1): ReLU()
          (2): Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1))
        )
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
    small = removed(network, architecture.kept)
    if check and architecture.example is not None and not bool(architecture.open.all()):
        try:
            exact = agrees(network, small, architecture.kept, architecture.example)
        except Unusable as error:
            warnings.warn(
                f"compact could not check its result: the original network does not run on noise ({error}).",
                stacklevel=2,
            )
            return small
        if not exact:
            raise UserError(
                "the compact network computes something else than the original without these channels: the forward "
                "pass takes another path here than when its Space was found (control flow that depends on the data, "
                "or a module that changes itself); make the path the same for all inputs, or exclude those layers."
            )
        failure = fails_in_training(network, small, architecture.example)
        if failure is not None:
            raise UserError(
                f"the compact network runs, but not in training mode ({failure}): code that only training runs counts "
                "channels in its own way; take the number from a tensor's shape, or exclude those layers."
            )
    return small
