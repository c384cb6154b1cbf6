"""Channels and branches that leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from dnal.architecture.architecture import Architecture
from dnal.architecture.compact import compact
from dnal.changes.change import Change
from dnal.space.space import Space


@dataclass(frozen=True)
class Removal(Change):
    """The removal of all that an architecture closes."""

    file: ClassVar[str] = "architecture.json"

    architecture: Architecture

    @classmethod
    def among(cls, space: Space, open_variables: Tensor) -> Self:
        """The removal of the variables of a Space that are not open (bool, (num_gates,))."""
        return cls(Architecture.of(space, open_variables))

    def apply(self, network: nn.Module) -> nn.Module:
        return compact(network, self.architecture)

    def document(self) -> dict[str, Any]:
        return self.architecture.document()

    @classmethod
    def of_document(cls, document: Any) -> Self:
        return cls(Architecture.of_document(document))
