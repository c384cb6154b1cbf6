"""What a method does to a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import nn

from dnal.architecture.architecture import Architecture
from dnal.train.technique import Technique


class Change(ABC):
    """What a method does to a network: apply it, and it is an ordinary network.

    Attributes:
        file: what a run folder calls it; a name that ends in .json holds no tensors.
        architecture: which channels of the network stay, where that is all that it does; else None.
    """

    file: ClassVar[str]
    architecture: Architecture | None = None

    @abstractmethod
    def apply(self, network: nn.Module) -> nn.Module:
        """The changed network, a copy; the one given stays as it is.

        Raises:
            UserError: it was made for another network.
        """

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """All of it, as nested plain values and tensors; :meth:`of_document` reads it."""

    @classmethod
    @abstractmethod
    def of_document(cls, document: Any) -> Self:
        """The change that a document, which may be anybody's, tells of.

        Raises:
            UserError: it tells of none.
        """

    def hooks(self, network: nn.Module) -> Sequence[Technique]:
        """What keeps the changed ``network`` so while it is trained further."""
        return ()
