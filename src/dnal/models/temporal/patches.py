"""A window of events as patches of equal numbers of events, and their tokens: a node in a patch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Patches:
    """What several windows consist of; a node has a token in each patch in which it takes part.

    Attributes:
        node, place: of each token, (T,): its node, and where it stands among the sequences of all nodes.
        source, target: tokens of each message, (2 B W,): every event sends one each way.
        rows: which window and node each sequence is of, ascending: window * nodes + node, (U,).
        count: patches of a window, which is the length of a sequence. nodes: how many there may be.
    """

    node: Tensor
    place: Tensor
    source: Tensor
    target: Tensor
    rows: Tensor
    count: int
    nodes: int

    @classmethod
    def of(cls, events: Tensor, count: int, nodes: int) -> Patches:
        """Cuts windows into ``count`` patches, of as many events each as can be, in their order.

        Args:
            events: from which node to which, (B, W, 2), in the order of time.
        """
        windows, width, _ = events.shape
        patch = torch.arange(width, device=events.device) * count // width
        patch = patch + count * torch.arange(windows, device=events.device)[:, None]
        keys = (patch[:, :, None] * nodes + events).flatten(0, 1).T  # (2, B W): who sends, who receives
        tokens, number = _distinct(keys, windows * count * nodes)
        node, patch = tokens % nodes, tokens // nodes
        rows, row = _distinct(patch // count * nodes + node, windows * nodes)
        return cls(
            node, row * count + patch % count, number.flatten(), number.flip(0).flatten(), rows, count, nodes
        )  # fmt: skip

    def pack(self, tokens: Tensor) -> Tensor:
        """(T, F) -> the sequence of each node, (U, count, F), with zeros where it takes no part."""
        flat = tokens.new_zeros(self.rows.size(0) * self.count, tokens.size(1))
        return flat.index_add(0, self.place, tokens).view(self.rows.size(0), self.count, -1)

    def unpack(self, sequences: Tensor) -> Tensor:
        """The tokens (T, F) of sequences (U, count, F): the inverse of :meth:`pack`."""
        return sequences.flatten(0, 1).index_select(0, self.place)

    @property
    def there(self) -> Tensor:
        """Where a sequence has a token, bool (U, count)."""
        found = torch.zeros(self.rows.size(0) * self.count, device=self.place.device)
        return (found.index_fill(0, self.place, 1) > 0).view(-1, self.count)

    def find(self, asked: Tensor) -> tuple[Tensor, Tensor]:
        """The sequences of nodes (B, ...) of each window, and bool whether they have one; where not, it is any."""
        first = torch.arange(asked.size(0), device=asked.device).view(-1, *[1] * (asked.dim() - 1)) * self.nodes
        keys = asked + first
        before = (keys[..., None] > self.rows).sum(-1) if _static_shapes(keys) else torch.searchsorted(self.rows, keys)
        row = before.clamp(max=self.rows.size(0) - 1)
        return row, self.rows[row] == keys


def _static_shapes(keys: Tensor) -> bool:
    """Whether shapes must not depend on values: the meta device has no values, nor has a program that is exported."""
    return keys.is_meta or torch.compiler.is_compiling()


def _distinct(keys: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """The distinct numbers among ``keys`` (...) in ascending order, and the place of each key among them, (...). With
    static shapes they are filled up to as many as there are keys with ``padding``, which is larger than all keys."""
    if not _static_shapes(keys):
        return keys.unique(return_inverse=True)  # type: ignore[no-any-return]
    ascending, order = keys.flatten().sort()
    new = torch.cat([torch.zeros_like(ascending[:1]), (ascending[1:] != ascending[:-1]).long()])
    number = new.cumsum(0)
    found = torch.full_like(ascending, padding).scatter(0, number, ascending)
    return found, torch.zeros_like(order).scatter(0, order, number).view_as(keys)
