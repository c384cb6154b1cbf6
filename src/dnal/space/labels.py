"""Labels: integers that say which channels of which tensors belong together.

Every index of every dimension of every parameter and buffer owns one label. A traced value carries *layers*: int64
tensors of the value's shape, expanded (stride 0) along the dimensions where the label does not change, so that views,
permutes and concatenations can simply be executed on them. A layer's *signature* is the set of dimensions along which
it varies. Ties and freezes are only written down while tracing; :meth:`Ledger.solve` turns them into classes at the
end, so the order of the trace does not matter.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SHARED = "what may leave (heads) shares it"
"""The reason of channels of a table, or of keys and values, that all heads use."""


class Ledger:
    """Hands out labels and records which of them are tied (leave together) or frozen (never leave)."""

    def __init__(self) -> None:
        self.size = 0
        self._root = torch.empty(0, dtype=torch.long)
        self._ties: list[tuple[Tensor, Tensor]] = []  # not yet in _root
        self._frozen: list[tuple[Tensor, str]] = []
        self._better: list[tuple[Tensor, str]] = []  # reasons of what may be frozen
        # Not yet settled: labels, those of what varies along fewer dimensions, and along which it does not.
        self._shared: list[tuple[Tensor, Tensor, tuple[int, ...]]] = []

    def fresh(self, count: int) -> Tensor:
        """``count`` consecutive labels without an owner yet, as an int64 tensor of shape (count,)."""
        first = self.size
        self.size += count
        return torch.arange(first, self.size)

    def tie(self, left: Tensor, right: Tensor) -> None:
        """``left[i]`` and ``right[i]`` leave together; the shapes are equal or broadcast."""
        left, right = torch.broadcast_tensors(left, right)
        self._ties.append((left.reshape(-1), right.reshape(-1)))

    def freeze(self, labels: Tensor | None, reason: str) -> None:
        """None of ``labels`` may leave; the first reason given for a class is the one reported."""
        if labels is not None and labels.numel():
            self._frozen.append((compressed(labels).unique(), reason))

    def pair(self, one: Tensor, two: Tensor) -> None:
        """The labels of two values that meet elementwise, of equal shape, leave together. Where one of them varies
        along more dimensions (the channels of all heads beside a table for one), :meth:`settle_shared` decides."""
        ones, twos = set(signature(one)), set(signature(two))
        if ones < twos:
            self._shared.append((two, one, tuple(twos - ones)))
        elif twos < ones:
            self._shared.append((one, two, tuple(ones - twos)))
        else:
            self.tie(one, two)

    def settle_shared(self) -> None:
        """Decides, by the ties so far, what :meth:`pair` left open: where whole heads leave, what they share stays;
        where the same channels of every head leave, it loses them too."""
        pending, self._shared = self._shared, []
        for fine, coarse, apart in pending:
            root = self.roots()[fine]
            if all(bool((root == root.narrow(d, 0, 1)).all()) for d in apart):
                self.tie(fine, coarse)
            else:
                self.freeze(coarse, SHARED)

    def explain(self, labels: Tensor | None, reason: str) -> None:
        """The reason to report where ``labels`` are frozen for any; freezes nothing."""
        if labels is not None and labels.numel():
            self._better.append((compressed(labels).unique(), reason))

    def written(self) -> tuple[int, int, int]:
        """How many ties, freezes and open questions are written down, for :meth:`forget`."""
        return len(self._ties), len(self._frozen), len(self._shared)

    def forget(self, written: tuple[int, int, int]) -> None:
        """Leaves out what was written down since, if it was not asked for classes in between."""
        ties, frozen, shared = written
        del self._ties[ties:], self._frozen[frozen:], self._shared[shared:]

    def roots(self) -> Tensor:
        """The class of every label under the ties so far: its smallest member, shape (size,)."""
        root = torch.cat((self._root, torch.arange(self._root.numel(), self.size)))
        if self._ties:
            left = torch.cat([a for a, _ in self._ties])
            right = torch.cat([b for _, b in self._ties])
            pairs = torch.stack((left, right)).unique(dim=1)
            left, right = pairs[0], pairs[1]
            while True:  # hook the larger root under the smaller, then halve the paths: O(log n) rounds
                a, b = root[left], root[right]
                apart = a != b
                if not bool(apart.any()):
                    break
                low, high = torch.minimum(a[apart], b[apart]), torch.maximum(a[apart], b[apart])
                root.scatter_reduce_(0, high, low, "amin")
                while not torch.equal(root, root[root]):
                    root = root[root]
            self._ties = []
        self._root = root
        return root

    def owned(self, first: int) -> Callable[[Tensor], Tensor]:
        """A function that replaces the labels from ``first`` on by the smallest ones that they are tied to so far;
        settles nothing."""
        root = copy.copy(self).roots()
        return lambda labels: torch.where(labels < first, labels, root[labels])

    def solve(self) -> tuple[Tensor, dict[int, str]]:
        """Returns the class of every label (see :meth:`roots`) and, for frozen classes, the reason."""
        root = self.roots()
        reasons: dict[int, str] = {}
        for labels, reason in self._frozen:
            for label in root[labels].unique().tolist():
                reasons.setdefault(label, reason)
        for labels, reason in self._better:
            reasons |= {label: reason for label in root[labels].unique().tolist() if label in reasons}
        return root, reasons


def along(labels: Tensor, dim: int, shape: Sequence[int]) -> Tensor:
    """The layer of a value of ``shape`` whose labels (shape (shape[dim],)) run along ``dim``."""
    view = [1] * len(shape)
    view[dim] = -1
    return labels.view(view).expand(list(shape))


def signature(layer: Tensor) -> tuple[int, ...]:
    """The dimensions along which the layer varies; none where it is empty."""
    if layer.numel() == 0:
        return ()
    return tuple(d for d in range(layer.dim()) if layer.size(d) > 1 and layer.stride(d) != 0)


def core(layer: Tensor, dims: Sequence[int]) -> Tensor:
    """The layer restricted to ``dims`` (index 0 elsewhere), one dimension each, in their order."""
    for d in reversed(range(layer.dim())):
        if d not in dims:
            layer = layer.select(d, 0) if layer.size(d) else _without(layer, d)
    return layer


def _without(layer: Tensor, dim: int) -> Tensor:
    """A layer without a dimension of size 0, as where a detector has found nothing: the labels along the others are
    in its memory, where it was expanded; else there are none."""
    sizes, strides = ([*kept[:dim], *kept[dim + 1 :]] for kept in (layer.shape, layer.stride()))
    last = layer.storage_offset() + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    held = layer.untyped_storage().nbytes() // layer.element_size()
    if 0 in sizes or last < held:
        return layer.as_strided(sizes, strides)
    return layer.new_full(sizes, 0)


def rows(layers: Sequence[Tensor], dim: int) -> Tensor | None:
    """The labels along a dimension, a row for each index, shape (size, any), or None; as many columns as the
    layer has entries along its other dimensions."""
    for layer in layers:
        dims = signature(layer)
        if dim in dims:
            return core(layer, dims).movedim(dims.index(dim), 0).reshape(layer.size(dim), -1)
    return None


def per_index(rows: Tensor) -> Tensor | None:
    """One variable for each index, of the variables in its row, -1 = fixed. A dimension whose indices all hold the same
    variables (the positions beside heads that leave) keeps its size, None; an index that holds a fixed channel
    stays."""
    if bool((rows < 0).all()) or (rows.size(1) > 1 and bool((rows == rows[:1]).all())):
        return None
    return torch.where((rows < 0).any(1), -1, rows[:, 0])


def compressed(layer: Tensor) -> Tensor:
    """The same labels with stride 0 along every dimension where they are constant."""
    if layer.numel() == 0:
        return layer
    shape = layer.shape
    for d in range(layer.dim()):
        if layer.size(d) > 1:
            first = layer.narrow(d, 0, 1)
            if layer.stride(d) == 0 or bool((layer == first).all()):
                layer = first
    return layer.expand(shape)


def carried(layer: Tensor, shape: Sequence[int], touched: Sequence[int]) -> Tensor:
    """The layer of an output that differs from its input only in the sizes of ``touched`` dimensions.

    The layer must not vary along them.
    """
    for d in touched:
        layer = layer.narrow(d, 0, 1)
    return layer.expand(list(shape))


def matched(ledger: Ledger, layers: Sequence[Tensor]) -> list[Tensor]:
    """Layers of equal shape that meet elementwise: those that share a dimension are tied, or, where one varies along
    more of them (the channels of all heads, beside a table for one head), shared; the finest one stays."""
    result: list[Tensor] = []
    for layer in layers:
        varying = set(signature(layer))
        kept = False
        for position, other in enumerate(result):
            other_varying = set(signature(other))
            if varying & other_varying:
                dims = sorted(varying | other_varying)
                ledger.pair(core(layer, dims), core(other, dims))
                if other_varying < varying and not kept:
                    result[position] = layer
                kept = kept or other_varying <= varying or varying <= other_varying
        if not kept:
            result.append(layer)
    return result
