"""Weights that are held at zero."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.changes.change import Change
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique


@dataclass(frozen=True)
class Masks(Change):
    """Weights that are held at zero, by the names of their tensors: the network keeps its shapes.

    Attributes:
        masks: bool, True where a weight stays; of the shape of the parameter that has this name.
    """

    file: ClassVar[str] = "masks.safetensors"

    masks: Mapping[str, Tensor]

    def apply(self, network: nn.Module) -> nn.Module:
        masked = copy.deepcopy(network)
        apply_masks(masked, self.masks)
        return masked

    def document(self) -> dict[str, Any]:
        return {"format": 1, "masks": {name: mask.detach().cpu() for name, mask in self.masks.items()}}

    @classmethod
    def of_document(cls, document: Any) -> Self:
        masks = document.get("masks") if isinstance(document, dict) and document.get("format") == 1 else None
        if not isinstance(masks, dict) or not all(
            isinstance(name, str) and isinstance(mask, Tensor) and mask.dtype == torch.bool
            for name, mask in masks.items()
        ):
            raise UserError("the masks are no boolean tensors by name.")
        return cls(masks)

    def hooks(self, network: nn.Module) -> Sequence[Technique]:
        return [HeldMasks(self.masks)]


@torch.no_grad()
def apply_masks(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Sets the masked weights to zero, in place.

    Raises:
        UserError: the network has no parameter of this name and shape.
    """
    parameters = dict(network.named_parameters())
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            raise UserError(f"the masks belong to another network: this one has no '{name}' of {tuple(mask.shape)}.")
        parameters[name].mul_(mask.to(parameters[name].device))


class HeldMasks(Technique):
    """Sets the masked weights to zero again after every step: momentum and weight decay move them too."""

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self._masks = masks

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        device = next(network.parameters()).device
        self._masks = {name: mask.to(device) for name, mask in self._masks.items()}

    def after_step(self, step: Step) -> None:
        apply_masks(step.network, self._masks)
