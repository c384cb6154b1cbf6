"""Channels that come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dnal.architecture.architecture import check_shapes
from dnal.base.errors import UserError
from dnal.changes.change import Change
from dnal.space.space import Space
from dnal.space.surgery.remove import Kept, removed


@dataclass(frozen=True)
class Growth(Change):
    """Channels that are copies of others, and whose readers share what they read: the network computes the same.

    Attributes:
        sources: per tensor and dimension the index in the network given from which each index is copied; None where
            the dimension stays.
        shares: per tensor and dimension the factor of each index, where channels are read; None elsewhere.
        shapes: of the network given, so that another one is refused.

    Source: Net2WiderNet, Chen et al., arXiv 1511.05641, section 2.3.1.
    """

    file: ClassVar[str] = "growth.safetensors"

    sources: Mapping[str, tuple[Tensor | None, ...]]
    shares: Mapping[str, tuple[Tensor | None, ...]]
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, space: Space, copies: Tensor) -> Self:
        """Every variable of the Space ``copies`` times as often (int, (num_variables,), 1 or more): the copies stand
        behind all that were there."""
        if copies.shape != (space.num_variables,) or int(copies.min()) < 1:
            raise UserError(f"a growth of this space needs {space.num_variables} numbers, each 1 or more.")
        sources: dict[str, tuple[Tensor | None, ...]] = {}
        shares: dict[str, tuple[Tensor | None, ...]] = {}
        readers = set(space.readers)
        for name, dims in {**space.sources, **space.buffer_sources}.items():
            found = [None if ids is None else _grown(ids, copies) for ids in dims]
            sources[name] = tuple(found)
            shares[name] = tuple(
                1 / _times(ids, copies)[index] if index is not None and ids is not None and (name, dim) in readers
                else None
                for dim, (ids, index) in enumerate(zip(dims, found, strict=True))
            )  # fmt: skip
        return cls(sources, shares, dict(space.shapes))

    def apply(self, network: nn.Module) -> nn.Module:
        check_shapes(network, self.shapes, "the growth")
        grown = removed(network, Kept(self.sources))
        with torch.no_grad():
            for name, tensor in grown.named_parameters():
                for dim, share in enumerate(self.shares.get(name, ())):
                    if share is not None:
                        shape = [-1 if d == dim else 1 for d in range(tensor.dim())]
                        tensor.mul_(share.to(tensor).view(shape))
        return grown

    def document(self) -> dict[str, Any]:
        return {
            "format": 1,
            "sources": {name: list(dims) for name, dims in self.sources.items()},
            "shares": {name: list(dims) for name, dims in self.shares.items()},
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
        }

    @classmethod
    def of_document(cls, document: Any) -> Self:
        try:
            shapes = {str(name): tuple(map(int, shape)) for name, shape in document["shapes"].items()}
            sources = {str(name): tuple(dims) for name, dims in document["sources"].items()}
            shares = {str(name): tuple(dims) for name, dims in document["shares"].items()}
            for name, dims in sources.items():
                for index, share, size in zip(dims, shares[name], shapes[name], strict=True):
                    _check(index, share, size)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise UserError("the growth does not say which channels are copied.") from None
        return cls(sources, shares, shapes)


def _grown(ids: Tensor, copies: Tensor) -> Tensor | None:
    """The indices of a dimension with the copies of its variables behind them."""
    times = _times(ids, copies)
    if int(times.max()) == 1:
        return None
    indices = torch.arange(len(ids))
    return torch.cat([indices, *(indices[times > number] for number in range(1, int(times.max())))])


def _times(ids: Tensor, copies: Tensor) -> Tensor:
    """How often each index of a dimension is there; what is no variable, once."""
    return torch.where(ids < 0, 1, copies[ids.clamp(min=0)])


def _check(index: Any, share: Any, size: int) -> None:
    if index is not None and not (
        isinstance(index, Tensor) and index.dtype == torch.long and index.dim() == 1 and len(index)
        and int(index.min()) >= 0 and int(index.max()) < size
    ):  # fmt: skip
        raise ValueError
    if share is not None and not (isinstance(share, Tensor) and index is not None and share.shape == index.shape):
        raise ValueError
