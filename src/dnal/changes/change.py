"""What a method does to a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dnal.architecture.architecture import Architecture, check_shapes
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from dnal.space.space import Space


class Change(ABC):
    """What a method does to a network: apply it, and it is an ordinary network.

    Attributes:
        file: what a run folder calls it; a name that ends in .json holds no tensors.
        noun: what the file holds, in a sentence, such as "an architecture".
        word: what the changed network is called beside its base, such as "compact".
        figures: names of costs (``dnal.costs.cost``) that are told of base and changed network beside those of every
            job.
        architecture: which channels of the network stay, where any leave; else None.
        shapes: of the network given, parameters and buffers by name, so that another one is refused.
    """

    file: ClassVar[str]
    noun: ClassVar[str]
    word: ClassVar[str] = "compact"
    figures: ClassVar[tuple[str, ...]] = ()
    architecture: Architecture | None = None
    shapes: Mapping[str, tuple[int, ...]]

    def check(self, network: nn.Module) -> None:
        """Refuses a network that is not the one this change was made for.

        Raises:
            UserError: naming the first tensor that differs.
        """
        check_shapes(network, self.shapes, f"the {self.noun.partition(' ')[2]}")

    @abstractmethod
    def apply(self, network: nn.Module) -> nn.Module:
        """The changed network, a copy; the one given stays as it is.

        Raises:
            UserError: it was made for another network.
        """

    @abstractmethod
    def outline(self, network: nn.Module) -> nn.Module:
        """A copy with the shapes of the changed network, for values that a file holds: ``network`` may be on the meta
        device, and nothing is run.

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

    def check_applied(self, network: nn.Module) -> None:  # noqa: B027  # most have nothing to check beyond shapes
        """Refuses a network that has the shapes of the changed one, and weights that it cannot have.

        Raises:
            UserError: naming the first tensor.
        """

    def left(self, name: str) -> tuple[int, ...]:
        """The sizes of the tensor ``name`` of the network given in the changed one; zeros where it is gone."""
        shape = self.shapes[name]
        return shape if self.architecture is None else self.architecture.kept.left(name, shape)

    def times(self, space: Space) -> Tensor:
        """How often each variable of the Space is there in the changed network, (num_gates,): 0 where it left."""
        return torch.ones(space.num_gates) if self.architecture is None else self.architecture.open.float()

    def remarks(self) -> list[str]:
        """What its figures do not tell, in sentences for people."""
        return []

    def restore(self, network: nn.Module) -> None:  # noqa: B027  # most have nothing to restore
        """Makes the changed ``network`` again what the change made of it, in place, after its weights were drawn
        again."""

    def hooks(self, network: nn.Module) -> Sequence[Technique]:
        """What keeps the changed ``network`` so while it is trained further."""
        return ()
