"""Branches: what the absence of each costs, after the best rebuilding of the layers that read the stream without it.

Without a branch the layers behind it read v where they read u: of a stream x + b(x), what is made of x alone. The best
linear guess of what is missing, d = u - v, is A v + c with A = S_dv S_vv^-1 and c = mean_d - A mean_v. So each layer is
rebuilt by W <- W + W A, and W c goes to its bias or to the running mean of the batch norm behind it. With G as in
:mod:`dnal.repair.curves`, what the loss loses all the same is

    e = 1/2 sum_layers sum_rows G w (S_dd - S_dv S_vv^-1 S_vd) w^T.

A branch that is constant, or linear in what the stream holds without it, costs nothing where the stream is read as it
is; behind a nonlinearity as much as that bends it.

To see v, the network runs a second time with the branch at zero, and every product of a weight answers what it answered
the first time. What is missing is then what the branch said, carried on by the stream, and not what layers in front,
which are rebuilt too, would make of it: the errors of several layers add up, as they do for the channels of a stream.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dnal.gates.gated import tensor_of
from dnal.repair.curves import RIDGE, ridge_of
from dnal.repair.products import Constant, Product, Watch, tensors_of
from dnal.repair.statistics import WIDEST, Loss, Moments, kept_buffers, minds_of_products, picked_rows
from dnal.space.branches import Branch
from dnal.space.space import Space
from dnal.space.surgery.inputs import batch_size, cloned
from dnal.space.surgery.running import call, evaluating, undisturbed
from dnal.train.batch import split
from dnal.train.rows import device_of, to_device


@dataclass(frozen=True)
class Absence:
    """What a network without one of its branches loses.

    Attributes:
        branch: of the Space.
        loss: the rise of the loss of an example once it has left and the layers that read are rebuilt.
    """

    branch: Branch
    loss: float


def absences(
    network: nn.Module,
    space: Space,
    batches: Iterable[Any],
    loss: Loss,
    *,
    graded: Iterable[Any] | None = None,
    ridge: float = RIDGE,
) -> list[Absence]:
    """What the absence of every branch of a network costs, each by itself, where that can be told.

    The network is run in eval mode, twice for each branch and batch, and backward for the first hundred or so examples;
    it, its buffers and everything random stay as they are. Of each layer behind a branch a matrix of what it reads is
    kept, and the results of one batch.

    Args:
        network: a trained network.
        space: of this network, with its branches (``depth=True``).
        batches: some hundred training examples: (inputs, targets) each, or mappings with ``labels``. They are gone
            through once more for each branch: a list, or a loader that gives the same ones again.
        loss: (outputs, targets) -> a scalar, the mean over the batch.
        graded: batches for the gradients, as for :func:`dnal.repair.curves`; otherwise the first of ``batches``.
        ridge: the share of the mean variance that is added to the variance of each channel.

    Returns:
        in the order of ``space.branches``; without those whose stream ends in the outputs, or is read by a layer that
        runs several times, that is too wide, or that got no gradient.

    Raises:
        UserError: there is no batch.

    Examples:
        >>> class Block(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 4)
        ...     def forward(self, x):
        ...         return x + self.b(self.a(x).relu())
        >>> network = nn.Sequential(nn.Linear(4, 4), Block(), nn.Linear(4, 3))
        >>> rows, labels = torch.randn(32, 4), torch.arange(32) % 3
        >>> space = dnal.Space.of(network, rows[:2], depth=True)
        >>> found = dnal.repair.absences(network, space, [(rows, labels)], nn.functional.cross_entropy)
        >>> [each.branch.name for each in found]
        ['1']
    """
    if not space.branches:
        return []
    minded = minds_of_products(network, _places(network), batches if graded is None else graded, loss)
    found = []
    for branch in space.branches:
        gaps = _measured(network, [branch], batches)
        if gaps.told and all(product in minded for product in gaps.moments):
            e = sum(_lost(network, gaps, product, minded[product], ridge) for product in gaps.moments)
            found.append(Absence(branch, e))
    return found


@torch.no_grad()
def rebuild_without(network: nn.Module, branches: Collection[Branch], batches: Iterable[Any], ridge: float) -> None:
    """Rebuilds, in place, the layers that read what branches said, all of which leave, and puts these at zero."""
    gaps = _measured(network, branches, batches)
    held = tensors_of(network)
    for product in gaps.moments:
        weight = tensor_of(network, product.place[0])
        matrix = product.matrix(weight.detach()).double().clone()
        guess, _ = gaps.guess(product, ridge)
        product.put(weight, (matrix + torch.einsum("grik,gij->grjk", matrix, guess)).to(weight.dtype))
        if product in gaps.constants:
            there, missing = gaps.moments[product].mean.double().chunk(2, dim=1)
            lost = torch.einsum("grik,gi->gr", matrix, missing - (guess @ there[:, :, None]).squeeze(2)).flatten()
            name, part, sign = gaps.constants[product]
            corrected = part.of(held[name])
            corrected += sign * lost.to(corrected.dtype)
    for name in _scales(branches):
        tensor_of(network, name).zero_()


@dataclass
class _Gaps:
    """What layers miss without some branches.

    Attributes:
        moments: of what each product reads without them, and then what is missing, (groups, rows, 2 columns).
        constants: where the mean of what it makes can be corrected.
        told: whether all that is missing is missed by these products alone.
    """

    moments: dict[Product, Moments] = field(default_factory=dict)
    constants: dict[Product, Constant] = field(default_factory=dict)
    told: bool = True

    def guess(self, product: Product, ridge: float) -> tuple[Tensor, Tensor]:
        """A, and the covariance of what it does not guess, (groups, columns, columns) both."""
        second = self.moments[product].second(about_mean=product in self.constants)
        half = second.size(1) // 2
        across, missing = second[:, half:, :half], second[:, half:, half:]
        guess = torch.linalg.solve(ridge_of(second[:, :half, :half], ridge), across.mT).mT
        return guess, missing - guess @ across.mT


def _lost(network: nn.Module, gaps: _Gaps, product: Product, minded: Tensor, ridge: float) -> float:
    weights = product.matrix(tensor_of(network, product.place[0]).detach()).double()
    _, left = gaps.guess(product, ridge)
    squares = torch.einsum("grik,gij,grjk->gr", weights, left, weights).clamp(min=0)
    return 0.5 * float((squares.flatten() * minded).sum())


def _measured(network: nn.Module, branches: Collection[Branch], batches: Iterable[Any]) -> _Gaps:
    """What is missed without these branches."""
    scales = _scales(branches)
    watch = _Twice(network, scales, {name for name, _ in _places(network) if any(b.removes(name) for b in branches)})
    device = device_of(network)
    for batch in batches:
        inputs, _ = to_device(split(batch), device)
        watch.examples = batch_size(inputs)
        with undisturbed(inputs), evaluating(network), kept_buffers(network):
            with watch:
                whole = call(network, cloned(inputs))
            watch.begin_again()
            with _at_zero(network, scales), watch:
                without = call(network, cloned(inputs))
            watch.end()
        watch.gaps.told &= all(map(_equal, tree_leaves(whole), tree_leaves(without)))
    watch.gaps.constants = dict(watch.constants)
    return watch.gaps


def _places(network: nn.Module) -> list[tuple[str, int]]:
    """Everything that may read a stream: also of channels that are fixed, as those of LayerNorm are."""
    named = ((name, p) for name, p in network.named_parameters() if p.is_floating_point() and p.dim() > 1)
    return [(name, dim) for name, _ in named for dim in (0, 1)]


def _scales(branches: Iterable[Branch]) -> set[str]:
    """The tensors without which the branches are zero."""
    return {name for branch in branches for name in branch.bypass.places}


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else True


@contextmanager
def _at_zero(network: nn.Module, names: Iterable[str]) -> Iterator[None]:
    kept = {name: tensor_of(network, name).detach().clone() for name in names}
    with torch.no_grad():
        for name in kept:
            tensor_of(network, name).zero_()
        try:
            yield
        finally:
            for name, value in kept.items():
                tensor_of(network, name).copy_(value)


class _Twice(Watch):
    """Sees the products of a network that runs as it is, and then without branches, where they answer as before.

    Args:
        scales: tensors that are zero the second time; a product with one of them answers what it makes then. gone:
            weights that leave with the branches.
    """

    def __init__(self, network: nn.Module, scales: Collection[str], gone: Collection[str]) -> None:
        super().__init__(network, _places(network), self._reads, lambda product, gradients: None)
        self.gaps = _Gaps()
        self._scales, self._gone = scales, gone
        self._before: dict[Product, list[tuple[Tensor, Tensor]]] = {}
        self._reading: tuple[Product, Tensor] | None = None
        self._again = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        reading, self._reading = self._reading, None
        if reading is None or reading[0].place[0] in self._scales:
            return out
        product, rows = reading
        if not self._again:
            self._before.setdefault(product, []).append((rows, out.detach().clone()))
            return out
        kept, made = self._before[product].pop(0)
        self._compare(product, kept, rows)
        return made

    def begin_again(self) -> None:
        """The run without the branches begins."""
        self.forget()
        self.follow, self._again = False, True
        self._shared = {product for product, runs in self._before.items() if len(runs) > 1}

    def end(self) -> None:
        """It is over."""
        self._again = False
        self._before.clear()

    def _reads(self, product: Product, channels: Tensor) -> None:
        self._reading = product, picked_rows(channels, self.examples)

    def _compare(self, product: Product, before: Tensor, now: Tensor) -> None:
        known = product in self.gaps.moments
        if product.place[0] in self._gone or (not known and torch.equal(before, now)):
            return
        if product in self._shared or 2 * now.size(2) > WIDEST:
            self.gaps.told = False
            return
        self.gaps.moments.setdefault(product, Moments()).add(torch.cat((now, before - now), 2))
