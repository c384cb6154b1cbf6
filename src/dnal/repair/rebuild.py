"""The rebuilding: what leaves is taken over, in the layers that read it, by what stays.

With S of what a layer reads, K the columns that stay and R those that leave, A = S_RK S_KK^-1 foretells what leaves:
W_K <- W_K + W_R A for every kernel position, and W_R <- 0. What no other channel foretells of its mean,
W_R (mean_R - A mean_K), goes to the bias of the layer or to the running mean of the batch norm behind it; a layer that
has neither takes S with the means in it, so that they are foretold too. All of it is measured with the whole network: a
norm over channels of which some leave scales the others otherwise afterwards, which its own scale and shift make good
(:mod:`dnal.repair.norms`). Where branches leave, what reads the stream does without them first
(:mod:`dnal.repair.absence`), and what it reads is measured again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dnal.architecture.architecture import Architecture, check_shapes
from dnal.gates.gated import tensor_of
from dnal.repair.absence import rebuild_without
from dnal.repair.curves import RIDGE, ridge_of
from dnal.repair.norms import rebuild_norms
from dnal.repair.products import tensors_of
from dnal.repair.statistics import Ahead, Reader, Statistics, measured
from dnal.space.space import Space
from dnal.space.surgery.norms import open_norms


def rebuilt(
    network: nn.Module,
    space: Space,
    open_variables: Architecture | Tensor,
    batches: Iterable[Any],
    *,
    ridge: float = RIDGE,
) -> nn.Module:
    """A copy of a network whose layers take over what they read of the channels that leave, as well as the channels
    that stay can say it; then nothing reads the closed channels any more. All its tensors are there and as large as
    before: :func:`dnal.compact` makes it small.

    The network is run in eval mode, once forward a batch; it, its buffers and everything random stay as they are.

    Args:
        network: a trained network.
        space: of this network.
        open_variables: which channels and branches stay: an architecture of the space, or bool (num_gates,).
        batches: some hundred training examples: (inputs, targets) each, or mappings with ``labels``; the targets are
            not looked at. Where branches leave they are kept, for a second look.
        ridge: the share of the mean variance that is added to the variance of each channel.

    Returns:
        the copy. A layer whose products were not seen (one that computes its weight) is as it was.

    Raises:
        UserError: the space or the architecture is of another network, or there is no batch.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> images = torch.randn(16, 3, 8, 8)
        >>> space = dnal.Space.of(network, images[:2])
        >>> architecture = dnal.Architecture.random(space, keep=0.5)
        >>> repaired = dnal.repair.rebuilt(network, space, architecture, [(images, None)])
        >>> dnal.compact(repaired, architecture)
        Sequential(
          (0): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
          (1): ReLU()
          (2): Conv2d(4, 4, kernel_size=(3, 3), stride=(1, 1))
        )
    """
    check_shapes(network, space.shapes, "the space")
    architecture = open_variables
    if not isinstance(architecture, Architecture):
        architecture = Architecture.of(space, architecture)
    architecture.check(network)
    result = copy.deepcopy(network)
    rebuild_all(result, space, architecture.open, batches, ridge)
    return result


def rebuild_all(
    network: nn.Module,
    space: Space,
    open_variables: Tensor,
    batches: Iterable[Any],
    ridge: float,
    statistics: Statistics | None = None,
) -> None:
    """Rebuilds a network in place: what reads branches that leave, then norms over channels that leave, then what reads
    channels that leave.

    Args:
        open_variables: bool (num_gates,). statistics: of the network with these batches, where they are known.
    """
    left = [branch for branch in space.branches if not bool(open_variables[branch.variable])]
    norms = open_norms(space.norms, open_variables.cpu().bool())
    if left or norms:
        batches = batches if isinstance(batches, Ahead) else list(batches)
    if left:
        rebuild_without(network, left, batches, ridge)
        statistics = None
    statistics = statistics or measured(network, space, batches)
    rebuild_norms(network, norms, batches)
    rebuild(network, statistics, open_variables, ridge)


@torch.no_grad()
def rebuild(network: nn.Module, statistics: Statistics, open_variables: Tensor, ridge: float) -> None:
    """Rebuilds a network in place, of what was measured of it; ``open_variables``: bool (num_gates,)."""
    stays = torch.cat((open_variables.cpu().bool(), torch.ones(1, dtype=torch.bool)))  # id -1, which is fixed, stays
    held = tensors_of(network)
    for reader in statistics.readers:
        kept = stays[reader.ids.cpu()].to(reader.ids.device)
        if not bool(kept.all()) and bool(kept.any()):
            _rebuild(reader, tensor_of(network, reader.product.place[0]), held, kept, ridge)


def _rebuild(reader: Reader, weight: Tensor, held: dict[str, Tensor], kept: Tensor, ridge: float) -> None:
    stay, leave = kept.nonzero().flatten(), (~kept).nonzero().flatten()
    second = ridge_of(reader.second(), ridge)
    within, across = second[:, stay][:, :, stay], second[:, stay][:, :, leave]
    foretold = torch.linalg.solve(within, across).mT  # (groups, leaving, staying)
    weights = reader.weights(weight.detach()).double()
    leaving = weights[:, :, leave]
    weights[:, :, stay] += torch.einsum("grik,gij->grjk", leaving, foretold)
    weights[:, :, leave] = 0
    reader.put(weight, weights.to(weight.dtype))
    if reader.constant is not None:
        mean = reader.moments.mean.double()
        missing = mean[:, leave] - (foretold @ mean[:, stay, None]).squeeze(2)
        lost = torch.einsum("grik,gi->gr", leaving, missing).flatten()
        name, part, sign = reader.constant
        corrected = part.of(held[name])
        corrected += sign * lost.to(corrected.dtype)
