"""Nothing leaves and nothing comes: a network that a search found, and that its name tells whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import nn

from dnal.base.errors import UserError
from dnal.changes.change import Change
from dnal.changes.documents import shapes_of_document

MOST = 2**53


@dataclass(frozen=True)
class Found(Change):
    """The network as it is.

    Attributes:
        shapes: of the network. evaluations: how many networks were trained to find it.
    """

    file: ClassVar[str] = "found.json"
    noun: ClassVar[str] = "a find"
    word: ClassVar[str] = "found"

    shapes: Mapping[str, tuple[int, ...]]
    evaluations: int = 0

    @classmethod
    def of(cls, network: nn.Module, evaluations: int) -> Self:
        """That of a network, found among so many."""
        return cls({name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}, evaluations)

    def apply(self, network: nn.Module) -> nn.Module:
        return self.outline(network)

    def outline(self, network: nn.Module) -> nn.Module:
        self.check(network)
        return copy.deepcopy(network)

    def document(self) -> dict[str, Any]:
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {"format": 1, "evaluations": self.evaluations, "shapes": shapes}

    @classmethod
    def of_document(cls, document: Any) -> Self:
        shapes = shapes_of_document(document)
        number = document.get("evaluations") if isinstance(document, dict) else None
        if shapes is None or document.get("format") != 1 or type(number) is not int or not 0 <= number <= MOST:
            raise UserError("the find does not say the shapes of its network.")
        return cls(shapes, number)

    def remarks(self) -> list[str]:
        return [f"the best of {self.evaluations:,} networks that were trained"]
