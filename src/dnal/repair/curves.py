"""Curves: what each width of a group costs, after the best rebuilding of what leaves from what stays.

For a group of channels, of every layer that reads it: S is the covariance of what it reads (with a ridge), w its
weights as rows over the columns that it reads, G how much the loss minds an error of each row's output. With M = S^-1
the least rise of the loss that the removal of channel i costs is

    e_i = 1/2 sum_rows G w_i^2 / M_ii,

reached by w <- w - w_i M_i / M_ii, and M <- M - M_:i M_i: / M_ii is that of the channels left (Hassibi and Stork,
1993). The channel with the least e_i leaves, over and over. Of the weights only H = w^T G w is needed. A channel that
is read in several columns (a head, a channel behind a flatten) leaves with its block B of them: 1/2 tr(M_BB^-1 H_BB).
Several layers that read a group each have their own M and H, and their e_i add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnal.gates.gated import tensor_of
from dnal.repair.statistics import Loss, Reader, Statistics, measured
from dnal.space.space import Group, Space

RIDGE = 1e-2
"""Share of the mean variance that is added to each: the covariance of dead or equal channels has no inverse."""
LAZY = 64
"""Columns that leave before matrices are computed anew; until then their part is applied where it is needed."""


@dataclass(frozen=True)
class Curve:
    """What the widths of a group cost.

    Attributes:
        group: of the Space.
        order: its variables as they leave, the first one first, (width,); the last one would stay alone.
        losses: the rise of the loss of an example once the first k have left and the layers that read are rebuilt, for
            k = 0 to width - 1, (width,), ascending.
    """

    group: Group
    order: Tensor
    losses: Tensor


def curves(
    network: nn.Module,
    space: Space,
    batches: Iterable[Any],
    loss: Loss,
    *,
    graded: Iterable[Any] | None = None,
    ridge: float = RIDGE,
) -> list[Curve]:
    """The curve of every group of a network whose readers can be rebuilt.

    The network is run in eval mode, once forward a batch, and forward and backward for a hundred or so examples; it,
    its buffers and everything random stay as they are. Memory does not grow with the number of batches: of each reader
    a matrix of what it reads is kept.

    Args:
        network: a trained network.
        space: of this network.
        batches: some hundred training examples: (inputs, targets) each, or mappings with ``labels``.
        loss: (outputs, targets) -> a scalar, the mean over the batch.
        graded: batches for the gradients, best of examples on which the network was not trained: of those that it knows
            by heart the loss minds hardly anything. Otherwise the first of ``batches``.
        ridge: the share of the mean variance that is added to the variance of each channel.

    Returns:
        in the order of ``space.groups``; without the groups that nothing reads with weights of its own (the channels
        over which queries and keys are multiplied), or of which not every reader was seen (a layer that computes its
        weight, an operation that dnal does not look into), or that got no gradient.

    Raises:
        UserError: there is no batch.

    Examples:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 10))
        >>> images, labels = torch.randn(32, 3, 8, 8), torch.arange(32) % 10
        >>> space = dnal.Space.of(network, images[:2])
        >>> found = dnal.repair.curves(network, space, [(images, labels)], nn.functional.cross_entropy)
        >>> [(curve.group.name, len(curve.losses)) for curve in found]
        [('0.weight', 8), ('2.weight', 4)]
    """
    return curves_of(network, space, measured(network, space, batches, loss, graded), ridge)


def curves_of(network: nn.Module, space: Space, statistics: Statistics, ridge: float) -> list[Curve]:
    """The same of what was measured."""
    found = []
    for group in space.groups:
        reading = _reading(space, group, statistics)
        if not reading:
            continue
        by_size: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for reader in reading:
            for each, inverse, weights in _matrices(network, space, group, reader, ridge):
                by_size.setdefault(each, []).append((inverse, weights))
        stacks = [
            _Stack(torch.stack([inverse for inverse, _ in pairs]), torch.stack([cost for _, cost in pairs]), each)
            for each, pairs in by_size.items()
        ]
        order, losses = _removed_one_by_one(stacks, group.width)
        found.append(Curve(group, group.variables[order], losses))
    return found


def _reading(space: Space, group: Group, statistics: Statistics) -> list[Reader]:
    """All readers of a group; none where not every one of them is known."""
    if any(place in statistics.unseen for place in group.places):
        return []
    inside = torch.zeros(space.num_variables + 1, dtype=torch.bool)
    inside[group.variables] = True
    reading = [reader for reader in statistics.readers if bool(inside[reader.ids.cpu()].any())]
    return reading if all(reader.minded is not None for reader in reading) else []


def _matrices(
    network: nn.Module, space: Space, group: Group, reader: Reader, ridge: float
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """For each group of a reader's outputs M and H of a group of channels, both (width times each, ...) float64, and
    before them ``each``, how many columns a variable has there."""
    local = torch.full((space.num_variables + 1,), group.width, dtype=torch.long)
    local[group.variables] = torch.arange(group.width)
    columns, each = _blocks(local[reader.ids.cpu()], group.width)
    columns = columns.to(reader.ids.device)
    there = columns >= 0
    known = columns[there]
    covariances = ridge_of(reader.second()[:, known][:, :, known], ridge)
    weights = reader.weights(tensor_of(network, reader.product.place[0]).detach())[:, :, known].double()
    assert reader.minded is not None
    scaled = weights * reader.minded.view(weights.size(0), -1, 1, 1).sqrt()
    for covariance, rows in zip(covariances, scaled, strict=True):
        inverse, cost = (
            torch.zeros(len(columns), len(columns), dtype=torch.float64, device=known.device) for _ in "12"
        )
        inverse.fill_diagonal_(1)  # a column that some variables lack has no weight
        at = there.nonzero().flatten()
        flat = rows.transpose(1, 2).flatten(0, 1)
        inverse[at[:, None], at] = torch.linalg.inv(covariance)
        cost[at[:, None], at] = flat.T @ flat
        yield each, inverse, cost


def _blocks(variables: Tensor, width: int) -> tuple[Tensor, int]:
    """The columns of each variable in turn, (width times each,), -1 where one has fewer than ``each``; ``variables``:
    of each column, ``width`` = none."""
    order = variables.argsort(stable=True)
    order = order[variables[order] < width]
    counts = torch.bincount(variables[order], minlength=width)
    each = int(counts.max())
    blocks = torch.full((width, each), -1, dtype=torch.long)
    blocks[torch.arange(each) < counts[:, None]] = order
    return blocks.flatten(), each


def ridge_of(covariance: Tensor, ridge: float) -> Tensor:
    """(groups, columns, columns) with the ridge."""
    mean = covariance.diagonal(dim1=1, dim2=2).mean(1)
    mean = torch.where(mean > 0, mean, torch.ones_like(mean))
    return covariance + torch.diag_embed((ridge * mean)[:, None].expand(covariance.shape[:2]))


class _Stack:
    """M and H of the channels left of a group, at several readers where a channel has as many columns ``each``; both
    (readers, columns, columns)."""

    def __init__(self, inverse: Tensor, weights: Tensor, each: int) -> None:
        self.inverse, self.weights, self.each = inverse, weights, each
        self._m_blocks, self._h_blocks = self._diagonal(inverse), self._diagonal(weights)
        self._begin()

    def costs(self) -> Tensor:
        """e of every channel, (channels,)."""
        if self.each == 1:
            costs: Tensor = self._h_blocks / self._m_blocks
        else:
            costs = torch.linalg.solve(self._m_blocks, self._h_blocks)
        e: Tensor = 0.5 * costs.diagonal(dim1=2, dim2=3).sum((0, 2))
        return e

    def remove(self, channel: int) -> None:
        """M loses what goes through the channel, M - m c^T with c = M_:B and m = c M_BB^-1, and H becomes that of the
        rebuilt weights, (I - m e_B^T) H (I - e_B m^T) = H - m k^T - k m^T with k = H_:B - m H_BB / 2."""
        own = slice(channel * self.each, (channel + 1) * self.each)
        m, c, k = (factor[:, :, : self._count] for factor in self._factors)
        column = self.inverse[:, :, own] - m @ c[:, own].mT
        height = self.weights[:, :, own] - m @ k[:, own].mT - k @ m[:, own].mT
        moved = torch.linalg.solve(column[:, own], column, left=False)
        change = height - 0.5 * moved @ height[:, own]
        for factor, new in zip(self._factors, (moved, column, change), strict=True):
            factor[:, :, self._count : self._count + self.each] = new
        self._count += self.each
        m, c, k = (new.unflatten(1, (-1, self.each)) for new in (moved, column, change))
        self._m_blocks = self._m_blocks - m @ c.mT
        self._h_blocks = self._h_blocks - m @ k.mT - k @ m.mT
        eye = torch.eye(self.each, dtype=column.dtype, device=column.device)
        self._m_blocks[:, channel], self._h_blocks[:, channel] = eye, 0

    @property
    def full(self) -> bool:
        """Whether no further removal can wait."""
        return self._count + self.each > self._factors[0].size(2)

    def settle(self, left: Tensor) -> None:
        """Applies what waits, and drops the channels that are not left, (channels,)."""
        m, c, k = (factor[:, :, : self._count] for factor in self._factors)
        self.inverse.baddbmm_(m, c.mT, alpha=-1)
        self.weights.baddbmm_(m, k.mT, alpha=-1).baddbmm_(k, m.mT, alpha=-1)
        stays = left.to(self.inverse.device).repeat_interleave(self.each).nonzero().flatten()
        self.inverse = self.inverse[:, stays[:, None], stays]
        self.weights = self.weights[:, stays[:, None], stays]
        self._m_blocks, self._h_blocks = self._m_blocks[:, left], self._h_blocks[:, left]
        self._begin()

    def _begin(self) -> None:
        readers, columns = self.inverse.shape[:2]
        shape = (readers, columns, max(self.each, LAZY))
        self._factors = [self.inverse.new_empty(shape) for _ in "mck"]
        self._count = 0

    def _diagonal(self, matrix: Tensor) -> Tensor:
        """The blocks on the diagonal, (readers, channels, each, each)."""
        blocks = matrix.unflatten(1, (-1, self.each)).unflatten(3, (-1, self.each))
        diagonal: Tensor = blocks.diagonal(dim1=1, dim2=3).movedim(3, 1).clone()
        return diagonal


def _removed_one_by_one(stacks: Sequence[_Stack], width: int) -> tuple[Tensor, Tensor]:
    """The order in which channels leave, and what is lost before each of them does, both (width,)."""
    alive, left = torch.arange(width), torch.ones(width, dtype=torch.bool)
    order: list[int] = []
    lost = [0.0]
    while len(order) < width:
        costs = torch.stack([stack.costs().cpu() for stack in stacks]).sum(0)
        costs[~left] = torch.inf
        channel = int(costs.argmin())
        order.append(int(alive[channel]))
        lost.append(lost[-1] + max(float(costs[channel]), 0.0))
        left[channel] = False
        if len(order) == width:
            break
        for stack in stacks:
            stack.remove(channel)
        if any(stack.full for stack in stacks):
            for stack in stacks:
                stack.settle(left)
            alive = alive[left]
            left = torch.ones(len(alive), dtype=torch.bool)
    return torch.tensor(order), torch.tensor(lost[:width], dtype=torch.float64)
