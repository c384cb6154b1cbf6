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
        for d in range(left.dim()):
            if left.size(d) > 1 and left.stride(d) == right.stride(d) == 0:
                left, right = left.narrow(d, 0, 1), right.narrow(d, 0, 1)
        if not _same(left, right):
            self._ties.append((left.reshape(-1), right.reshape(-1)))

    def freeze(self, labels: Tensor | None, reason: str) -> None:
        """None of ``labels`` may leave; the first reason given for a class is the one reported."""
        if labels is not None and labels.numel():
            self._frozen.append((distinct(labels), reason))

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
            self._better.append((distinct(labels), reason))

    def written(self) -> tuple[int, int, int]:
        """How many ties, freezes and open questions are written down, for :meth:`forget`."""
        return len(self._ties), len(self._frozen), len(self._shared)

    def forget(self, written: tuple[int, int, int]) -> None:
        """Leaves out what was written down since, if it was not asked for classes in between."""
        ties, frozen, shared = written
        del self._ties[ties:], self._frozen[frozen:], self._shared[shared:]

    def roots(self) -> Tensor:
        """The class of every label under the ties so far: its smallest member, shape (size,)."""
        if not self._ties and self._root.numel() == self.size:
            return self._root
        root = torch.cat((self._root, torch.arange(self._root.numel(), self.size)))
        if self._ties:
            left = root[torch.cat([a for a, _ in self._ties])]
            right = root[torch.cat([b for _, b in self._ties])]
            while bool((apart := left != right).any()):
                # Hook the larger root under the smaller, then halve the paths: O(log n) rounds, of fewer pairs each.
                left, right = left[apart], right[apart]
                root.scatter_reduce_(0, torch.maximum(left, right), torch.minimum(left, right), "amin")
                while not torch.equal(root, above := root[root]):
                    root = above
                left, right = root[left], root[right]
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
        first = _first_of(root, [labels for labels, _ in self._frozen])
        better = _first_of(root, [labels for labels, _ in reversed(self._better)])  # the last one given
        reasons: dict[int, str] = {}
        frozen = (first < len(self._frozen)).nonzero().squeeze(1)
        for label, number, other in zip(frozen.tolist(), first[frozen].tolist(), better[frozen].tolist(), strict=True):
            known = self._frozen[number] if other == len(self._better) else self._better[-1 - other]
            reasons[label] = known[1]
        return root, reasons


def _first_of(root: Tensor, sets: Sequence[Tensor]) -> Tensor:
    """For every class the first of the sets of labels that it has a member in; else their number."""
    first = torch.full_like(root, len(sets))
    if sets:
        numbers = torch.arange(len(sets)).repeat_interleave(torch.tensor([labels.numel() for labels in sets]))
        first.scatter_reduce_(0, root[torch.cat(list(sets))], numbers, "amin")
    return first


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two layers are the same labels in memory."""
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()


def along(labels: Tensor, dim: int, shape: Sequence[int]) -> Tensor:
    """The layer of a value of ``shape`` whose labels (shape (shape[dim],)) run along ``dim``."""
    view = [1] * len(shape)
    view[dim] = -1
    return labels.view(view).expand(list(shape))


def signature(layer: Tensor) -> tuple[int, ...]:
    """The dimensions along which the layer varies; none where it is empty."""
    if layer.numel() == 0:
        return ()
    sizes = layer.shape
    # A list is faster than a generator, and this runs dozens of times for each operation.
    return tuple([d for d, step in enumerate(layer.stride()) if step and sizes[d] > 1])


def core(layer: Tensor, dims: Sequence[int]) -> Tensor:
    """The layer restricted to ``dims`` (index 0 elsewhere), one dimension each, in their order."""
    if layer.numel():  # one view instead of one for each of the other dimensions
        kept = [d for d in range(layer.dim()) if d in dims]
        sizes, strides = layer.shape, layer.stride()
        return layer.as_strided([sizes[d] for d in kept], [strides[d] for d in kept])
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
    return _narrowed(layer).expand(layer.shape)


def distinct(layer: Tensor) -> Tensor:
    """Its labels, sorted, each once."""
    found: Tensor = _narrowed(layer).unique()
    return found


def _narrowed(layer: Tensor) -> Tensor:
    """The layer with size 1 along every dimension where it is constant."""
    if layer.numel() == 0:
        return layer
    varying = signature(layer)
    for d in range(layer.dim()):
        if d not in varying:
            layer = layer.narrow(d, 0, 1)
    for d in varying:
        first = layer.narrow(d, 0, 1)
        # Most differ in the second one already.
        if torch.equal(layer.narrow(d, 1, 1), first) and bool((layer == first).all()):
            layer = first
    return layer


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
    if len(layers) < 2:
        return list(layers)
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
