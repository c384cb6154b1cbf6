"""Weights that are held at zero."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from dnal.architecture.architecture import Architecture
from dnal.architecture.compact import compact
from dnal.base.errors import UserError
from dnal.changes.change import Change
from dnal.changes.documents import shapes_of_document
from dnal.space.space import Space
from dnal.space.surgery.remove import removed, sliced
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique

WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Types of whole numbers by their bytes."""


@dataclass(frozen=True)
class Masks(Change):
    """Weights that are held at zero, by the names of their tensors; what nothing but zeros reads is removed.

    Attributes:
        masks: bool, True where a weight stays; of the shape of the parameter that has this name.
        shapes: of the network given.
        architecture: without the channels that only zeros read; None where there are none, and the shapes stay.
    """

    file: ClassVar[str] = "masks.safetensors"
    noun: ClassVar[str] = "a set of masks"
    word: ClassVar[str] = "masked"
    figures: ClassVar[tuple[str, ...]] = ("nonzero_macs", "compressed")

    masks: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    architecture: Architecture | None = None

    @classmethod
    def among(cls, space: Space, masks: Mapping[str, Tensor]) -> Self:
        """These masks of a Space's network, and the removal of what is empty (:func:`empty_variables`)."""
        gone = empty_variables(space, masks)
        architecture = Architecture.of(space, ~gone) if bool(gone.any()) else None
        return cls({name: mask.detach().cpu() for name, mask in masks.items()}, dict(space.shapes), architecture)

    def apply(self, network: nn.Module) -> nn.Module:
        self.check(network)
        masked = copy.deepcopy(network)
        apply_masks(masked, self.masks)
        return masked if self.architecture is None else compact(masked, self.architecture)

    def outline(self, network: nn.Module) -> nn.Module:
        self.check(network)
        return copy.deepcopy(network) if self.architecture is None else removed(network, self.architecture.kept)

    def document(self) -> dict[str, Any]:
        return {
            "format": 1,
            "masks": {name: as_bits(mask) for name, mask in self.masks.items()},
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "architecture": None if self.architecture is None else self.architecture.document(),
        }

    @classmethod
    def of_document(cls, document: Any) -> Self:
        masks = document.get("masks") if isinstance(document, dict) and document.get("format") == 1 else None
        shapes = shapes_of_document(document)
        if shapes is None or not isinstance(masks, dict) or not masks.keys() <= shapes.keys():
            raise UserError("the masks are no bits by the names of tensors.")
        masks = {name: of_bits(bits, shapes[name]) for name, bits in masks.items()}
        removed = document.get("architecture")
        architecture = None if removed is None else Architecture.of_document(removed)
        if architecture is not None and architecture.shapes != shapes:
            raise UserError("the masks and the channels that are removed are of two networks.")
        return cls(masks, shapes, architecture)

    def remarks(self) -> list[str]:
        held = self._left()
        weights, zeros = sum(mask.numel() for mask in held.values()), sum(int((~m).sum()) for m in held.values())
        share = f"{100 * zeros / weights:.1f} %" if weights else "none"
        found = [f"{zeros:,} of its {weights:,} maskable weights are held at zero ({share}); MACs count them all"]
        if self.architecture is not None:
            gone = int((~self.architecture.open).sum())
            found.append(f"{gone:,} channels that nothing but zeros read are removed")
        return found

    @property
    def kept(self) -> float:
        """The share of the maskable weights that is there in the changed network and not masked."""
        total = sum(mask.numel() for mask in self.masks.values())
        return sum(int(mask.sum()) for mask in self._left().values()) / total if total else 1.0

    def check_applied(self, network: nn.Module) -> None:
        for name, mask in self._left().items():
            if bool(network.get_parameter(name).detach()[~mask].any()):
                raise UserError(f"the weights of '{name}' are not 0 where the masks hold them at zero.")

    def restore(self, network: nn.Module) -> None:
        apply_masks(network, self._left())

    def hooks(self, network: nn.Module) -> Sequence[Technique]:
        return [HeldMasks(self._left(), self.kept)]

    def _left(self) -> dict[str, Tensor]:
        """The masks of the changed network, without what is removed."""
        if self.architecture is None:
            return dict(self.masks)
        kept = self.architecture.kept
        return {
            name: sliced(mask, kept.get(name, (None,) * mask.dim()))
            for name, mask in self.masks.items()
            if not kept.removes(name)
        }


def empty_variables(space: Space, masks: Mapping[str, Tensor]) -> Tensor:
    """The variables of a Space that may leave a masked network without any change of what it computes, bool
    (num_gates,): those of which only masked weights are read, wherever a gate would stand. Where they leave, what they
    read is read no more, so that others may follow. A group keeps one channel in any case, and branches stay.

    A channel that is always the same, since all weights that make it are masked, is none of them: its bias and its norm
    still say something.
    """
    there = {name: mask.detach().cpu().clone() for name, mask in masks.items() if name in space.sources}
    gates = [(name, dim, ids) for name, dim in space.gates if (ids := space.sources[name][dim]) is not None]
    gone = torch.zeros(space.num_variables, dtype=torch.bool)
    normed = torch.zeros(space.num_variables, dtype=torch.bool)  # without them a norm is another one
    for rule in space.norms:
        normed[rule.channels[rule.channels >= 0]] = True
    while True:
        read = normed.clone()
        for name, dim, ids in gates:
            by = there[name].movedim(dim, 0).flatten(1).any(1) if name in there else torch.ones(len(ids)).bool()
            read[ids[by & (ids >= 0)]] = True
        found = ~read
        for group in space.groups:
            if bool(found[group.variables].all()):
                found[group.variables[0]] = False
        if bool((found == gone).all()):
            return torch.cat([gone, torch.zeros(space.num_branches, dtype=torch.bool)])
        gone = found
        for name, values in there.items():
            for dim, ids in enumerate(space.sources[name]):
                if ids is not None:
                    values.movedim(dim, 0)[(ids >= 0) & gone[ids.clamp(min=0)]] = False


@torch.no_grad()
def apply_masks(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Sets the masked weights to zero, in place.

    Raises:
        UserError: the network has no parameter of this name and shape.
    """
    for parameter, mask in _masked(network, masks):
        parameter.masked_fill_(~mask.to(parameter.device), 0)


class HeldMasks(Technique):
    """Sets the masked weights to zero again after every step, which momentum and weight decay move too, and at the end,
    where a technique may have put averages in their place.

    Args:
        masks: bool, by the names of the network's parameters.
        kept: the share of the weights that stays, for the record of each epoch.
    """

    def __init__(self, masks: Mapping[str, Tensor], kept: float) -> None:
        self._masks, self._kept = masks, kept
        self._held: list[tuple[Tensor, Tensor]] | None = None

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        apply_masks(network, self._masks)

    def after_step(self, step: Step) -> None:
        if self._held is None:  # now they are where they are trained
            self._held = [(own, _of_its_bits(mask, own)) for own, mask in _masked(step.network, self._masks)]
        for parameter, kept in self._held:
            parameter.detach().view(kept.dtype).bitwise_and_(kept)

    def finish(self, network: nn.Module) -> None:
        apply_masks(network, self._masks)

    def record(self) -> dict[str, Any]:
        return {"kept": round(self._kept, 6)}


def _of_its_bits(mask: Tensor, parameter: Tensor) -> Tensor:
    """A mask as whole numbers of the parameter's size, all bits set or none: combined with the parameter's own bits by
    "and", they leave it or make it +0, whatever it is, faster than filling does. They lie in memory as the parameter
    does."""
    kept = torch.empty_like(parameter, dtype=WHOLE[parameter.element_size()], requires_grad=False)
    return kept.copy_(mask).neg_()


def as_bits(mask: Tensor) -> Tensor:
    """A bool mask as bits, eight in a byte, the first one the lowest: uint8, (ceil(n / 8),)."""
    return torch.from_numpy(np.packbits(mask.detach().cpu().numpy().reshape(-1), bitorder="little"))


def of_bits(bits: Any, shape: tuple[int, ...]) -> Tensor:
    """The bool mask of this shape whose :func:`as_bits` these are.

    Raises:
        UserError: they are none.
    """
    count = 1
    for size in shape:
        count *= size
    wrong = UserError("the masks are no bits by the names of tensors.")
    if not isinstance(bits, Tensor) or bits.dtype != torch.uint8 or tuple(bits.shape) != (-(-count // 8),):
        raise wrong
    every = np.unpackbits(bits.numpy(), bitorder="little")
    if every[count:].any():
        raise wrong
    return torch.from_numpy(every[:count].astype(bool)).view(shape)


def _masked(network: nn.Module, masks: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The parameters that masks are of, each with its mask. Of a layer whose weight is computed while it is trained it
    is the parameter of which it is computed.

    Raises:
        UserError: the network has no parameter of such a name and shape.
    """
    parameters = dict(network.named_parameters(remove_duplicate=False))
    found: list[tuple[Tensor, Tensor]] = []
    for name, mask in masks.items():
        path, _, last = name.rpartition(".")
        computed = f"{path}.parametrizations.{last}.original".lstrip(".")
        parameter = parameters.get(name, parameters.get(computed))
        if parameter is None or parameter.shape != mask.shape:
            raise UserError(f"the masks belong to another network: this one has no '{name}' of {tuple(mask.shape)}.")
        found.append((parameter, mask))
    return found
