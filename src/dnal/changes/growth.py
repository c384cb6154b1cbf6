"""Channels that come."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from dnal.base.errors import UserError
from dnal.changes.change import Change
from dnal.changes.documents import shapes_of_document
from dnal.space.space import Space
from dnal.space.surgery.agree import Unusable, agrees, fails_in_training
from dnal.space.surgery.example import Example, parsed
from dnal.space.surgery.remove import Kept, removed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Growth(Change):
    """Channels that are copies of others, and whose readers share what they read: the network computes the same.

    Attributes:
        copies: how often each variable of the Space is there, int64 (num_gates,), 1 or more.
        sources: per tensor and dimension the index in the network given from which each index is copied; None where
            the dimension stays.
        shares: per tensor and dimension the factor of each index, where channels are read; None elsewhere.
        shapes: of the network given.
        example: the inputs on which the Space was found, described; None where unknown.
        values: the parameters and buffers of the grown network, where they are others than copies: of new channels, and
            of a network that learnt while it grew. They are no part of the document: they are the saved weights.

    Source: Net2WiderNet, Chen et al., arXiv 1511.05641, section 2.3.1.
    """

    file: ClassVar[str] = "growth.safetensors"
    noun: ClassVar[str] = "a growth"
    word: ClassVar[str] = "grown"

    copies: Tensor
    sources: Mapping[str, tuple[Tensor | None, ...]]
    shares: Mapping[str, tuple[Tensor | None, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    example: Example | None = None
    values: Mapping[str, Tensor] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, space: Space, copies: Tensor, weights: Tensor | None = None) -> Self:
        """Every variable of the Space ``copies`` times as often (int, (num_variables,), 1 or more). A copy stands right
        behind what it is a copy of, so that what a network puts together or splits stays together.

        Args:
            weights: how much of what a channel gives each of its copies gives, not all 0, (num_variables, most copies):
                in proportion; None for equal shares. Copies that give nothing are places for new channels.

        Whether the network computes the same then, which code that counts channels in a way of its own may not, says
        :meth:`preserves`.

        Raises:
            UserError: on another number of ``copies``.
        """
        if copies.shape != (space.num_variables,) or int(copies.min()) < 1:
            raise UserError(f"a growth of this space needs {space.num_variables} numbers, each 1 or more.")
        copies = copies.detach().cpu().long()
        weights = torch.ones(len(copies), int(copies.max())) if weights is None else weights
        weights = torch.where(torch.arange(weights.size(1)) < copies[:, None], weights, 0)
        portions = weights / weights.sum(1, keepdim=True)
        sources: dict[str, tuple[Tensor | None, ...]] = {}
        shares: dict[str, tuple[Tensor | None, ...]] = {}
        readers = set(space.readers)
        for name, dims in {**space.sources, **space.buffer_sources}.items():
            grown = [(None, None) if ids is None else grown_indices(ids, copies) for ids in dims]
            sources[name] = tuple(index for index, _ in grown)
            shares[name] = tuple(
                torch.where(ids[index] < 0, 1.0, portions[ids[index].clamp(min=0), number])
                if ids is not None and index is not None and (name, dim) in readers
                else None
                for dim, (ids, (index, number)) in enumerate(zip(dims, grown, strict=True))
            )
        branches = torch.ones(space.num_branches, dtype=torch.long)
        return cls(torch.cat([copies, branches]), sources, shares, dict(space.shapes), space.example)

    def apply(self, network: nn.Module) -> nn.Module:
        if not self.preserves(network):
            raise UserError(
                "the grown network computes something else than the original: its code counts channels in a way of its "
                "own; exclude those layers."
            )
        grown = self._applied(network)
        if self.values is not None:
            grown.load_state_dict(dict(self.values))
        return grown

    def preserves(self, network: nn.Module) -> bool:
        """Whether the grown network computes what the original does, tried on noise like the example inputs of the
        Space, and runs in training mode if that does.

        Raises:
            UserError: the growth was made for another network.
        """
        self.check(network)
        try:
            grown = self._applied(network)
        except Exception as error:  # whatever modules raise that another number of channels does not fit
            logger.debug("the network cannot grow: %s", error)
            return False
        if self.example is None:
            return True
        try:
            exact = agrees(network, grown, Kept({}), self.example)
        except Unusable as error:
            warnings.warn(
                f"whether the grown network computes the same could not be tried: the original does not run on noise "
                f"({error}).",
                stacklevel=3,
            )
            return True
        return exact and fails_in_training(network, grown, self.example) is None

    def _applied(self, network: nn.Module) -> nn.Module:
        grown = self.outline(network)
        with torch.no_grad():
            for name, tensor in grown.named_parameters():
                for dim, share in enumerate(self.shares.get(name, ())):
                    if share is not None:
                        shape = [-1 if d == dim else 1 for d in range(tensor.dim())]
                        tensor.mul_(share.to(tensor).view(shape))
        return grown

    def outline(self, network: nn.Module) -> nn.Module:
        self.check(network)
        grown = removed(network, Kept(self.sources))
        for ours, original in zip(grown.modules(), network.modules(), strict=True):
            correct_groups(ours, original)
        return grown

    def document(self) -> dict[str, Any]:
        return {
            "format": 1,
            "copies": self.copies,
            "sources": {name: list(dims) for name, dims in self.sources.items()},
            "shares": {name: list(dims) for name, dims in self.shares.items()},
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "example": self.example,
        }

    @classmethod
    def of_document(cls, document: Any) -> Self:
        wrong = UserError("the growth does not say which channels are copied.")
        shapes = shapes_of_document(document)
        if shapes is None:
            raise wrong
        try:
            sources = {str(name): tuple(dims) for name, dims in document["sources"].items()}
            shares = {str(name): tuple(dims) for name, dims in document["shares"].items()}
            for name, dims in sources.items():
                for index, share, size in zip(dims, shares[name], shapes[name], strict=True):
                    _check(index, share, size)
            copies = document["copies"]
            if copies.dtype != torch.long or copies.dim() != 1 or document["format"] != 1:
                raise wrong
        except (TypeError, ValueError, KeyError, AttributeError):
            raise wrong from None
        example = document.get("example")
        return cls(copies, sources, shares, shapes, None if example is None else parsed(example))

    def left(self, name: str) -> tuple[int, ...]:
        shape = self.shapes[name]
        dims = self.sources.get(name, (None,) * len(shape))
        return tuple(size if index is None else len(index) for size, index in zip(shape, dims, strict=True))

    def times(self, space: Space) -> Tensor:
        return self.copies.float()

    def remarks(self) -> list[str]:
        before, after = len(self.copies), int(self.copies.sum())
        if any(share is not None and bool((share == 0).any()) for dims in self.shares.values() for share in dims):
            return [f"{after - before:,} new channels joined {before:,}"]
        return [f"{after - before:,} channels were added to {before:,}: it began as the same function"]


def grown_indices(ids: Tensor, copies: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The indices of a dimension with each run of indices of a variable as often as it is copied, and of each the
    number of its copy, 0 for the original; None where nothing is copied.

    Args:
        ids: the variable of each index, -1 = fixed. copies: how often each variable is there.
    """
    times = torch.where(ids < 0, 1, copies[ids.clamp(min=0)])
    if not len(ids) or int(times.max()) == 1:
        return None, None
    found, numbers = [], []
    values, lengths = torch.unique_consecutive(ids, return_counts=True)
    begin = 0
    for value, length in zip(values.tolist(), lengths.tolist(), strict=True):
        count = 1 if value < 0 else int(copies[value])
        found.append(torch.arange(begin, begin + length).repeat(count))
        numbers.append(torch.arange(count).repeat_interleave(length))
        begin += length
    return torch.cat(found), torch.cat(numbers)


def correct_groups(grown: nn.Module, original: nn.Module) -> None:
    """Where whole groups of channels are copied, there are as many groups more; in place."""
    if isinstance(grown, nn.GroupNorm) and isinstance(original, nn.GroupNorm) and grown.weight is not None:
        grown.num_groups = grown.weight.numel() // (original.num_channels // original.num_groups)
        grown.num_channels = grown.weight.numel()
    if not (isinstance(grown, _ConvNd) and isinstance(original, _ConvNd)) or original.groups == 1:
        return
    if grown.weight.size(1) == original.weight.size(1):
        grown.groups = grown.weight.size(0) // (original.weight.size(0) // original.groups)
        sizes = grown.weight.size(0), grown.weight.size(1) * grown.groups
        transposed = isinstance(grown, _ConvTransposeNd)
        grown.in_channels, grown.out_channels = sizes if transposed else sizes[::-1]


def _check(index: Any, share: Any, size: int) -> None:
    if index is not None and not (
        isinstance(index, Tensor) and index.dtype == torch.long and index.dim() == 1 and len(index)
        and int(index.min()) >= 0 and int(index.max()) < size
    ):  # fmt: skip
        raise ValueError
    if share is not None and not (isinstance(share, Tensor) and index is not None and share.shape == index.shape):
        raise ValueError
