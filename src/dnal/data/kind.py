"""What a kind of data is: everything above the data asks it, and assumes nothing.

A kind is a folder here with a subclass of :class:`Kind`, and a line in :mod:`dnal.data.kinds`. The sizes of its inputs
are a few whole numbers, such as channels, height and width; what tensors a network gets follows from them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from dnal.base.errors import OptionError
from dnal.base.options import Options
from dnal.space.surgery.inputs import Inputs

if TYPE_CHECKING:
    from dnal.data.dataset import Dataset, Part
    from dnal.data.objective import Objective

Sizes = tuple[int, ...]
"""Of one example, such as (channels, height, width)."""
Read = Callable[[Path | None, bool], Any]
"""(root, download) -> what the kind makes a data set of."""
Heads = Mapping[str, tuple[int, ...]]
"""The shapes of the arrays in an .npz file, by name."""
MOST_SIZES = 8


@dataclass(frozen=True)
class Entry:
    """A tensor of an example's inputs.

    Attributes:
        shape: without the batch.
        below: it holds whole numbers from 0 to below this one; None: floating-point numbers.
        ones: it holds ones, as the mask of a whole example does.
    """

    shape: tuple[int, ...]
    below: int | None = None
    ones: bool = False

    def plain(self, batch: int) -> Tensor:
        """A batch of zeros, or of whole numbers that go up, without anything drawn."""
        shape = (batch, *self.shape)
        if self.ones:
            return torch.ones(shape, dtype=torch.long)
        if self.below is None:
            return torch.zeros(shape)
        return (torch.arange(math.prod(self.shape)) % self.below).view(self.shape).expand(shape).clone()

    def drawn(self, batch: int, generator: torch.Generator) -> Tensor:
        """A batch of numbers from 0 to 1, or of whole numbers."""
        shape = (batch, *self.shape)
        if self.ones:
            return torch.ones(shape, dtype=torch.long)
        if self.below is None:
            return torch.rand(shape, generator=generator)
        return torch.randint(self.below, shape, generator=generator)


Tree: TypeAlias = Entry | Mapping[str, Entry]
"""The inputs of one example: the network's one argument, or its arguments by name."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of a data set, as :func:`dnal.data.load` takes it."""

    input_shape: Sizes | None = None
    classes: int | None = None
    limit_train: int | None = None
    seed: int = 0
    augment: bool = True


@dataclass(frozen=True)
class NoOptions(Options):
    """The options of a kind that has none."""


class Kind(ABC):
    """A kind of data.

    Attributes:
        name: in config.yaml and in the list of data. one, several: of its examples, in words. classified: what has a
            class in them.
        sizes: what the numbers of an input shape are, in words. usual: an example of them.
        raw: what readers return. options: of its files, after the name ("rows.csv:target=price").
        sets: its own sets by name, each with its description and reader.
        files: forms of users' files, each with a description.
        largest: numbers in an example, of a folder that may be anybody's.
        alone: a data set is a single example, of which every batch is made.
        cost_varies: how much a network computes for an example depends on its values, not on its shape alone.
        normalisation: how the network wants its inputs, in words.
    """

    name: ClassVar[str]
    one: ClassVar[str]
    several: ClassVar[str]
    classified: ClassVar[str]
    sizes: ClassVar[tuple[str, ...]]
    usual: ClassVar[Sizes]
    raw: ClassVar[type]
    options: ClassVar[type[Options]] = NoOptions
    sets: ClassVar[Mapping[str, tuple[str, Read]]]
    files: ClassVar[Sequence[tuple[str, str]]] = ()
    largest: ClassVar[int] = 2**22
    alone: ClassVar[bool] = False
    cost_varies: ClassVar[bool] = False
    normalisation: ClassVar[str] = ""

    @abstractmethod
    def claims(self, path: Path, heads: Heads) -> bool:
        """Whether a file or folder holds data of this kind; ``heads``: of an .npz file."""

    @abstractmethod
    def read(self, path: Path) -> Any:
        """What such a file or folder holds, as :meth:`dataset` takes it.

        Raises:
            UserError: it cannot be read.
        """

    @abstractmethod
    def dataset(self, name: str, raw: Any, wanted: Wanted, options: Any) -> Dataset:
        """The data set of what a reader has read.

        Raises:
            UserError: anything wrong with it, or with what is wanted.
        """

    @abstractmethod
    def inputs(self, sizes: Sizes) -> Tree:
        """What a network gets of one example."""

    @abstractmethod
    def arguments(self, sizes: Sizes) -> dict[str, int]:
        """What a function that builds a network may ask for, by the names of its parameters."""

    def kept(self, sizes: Sizes) -> dict[str, int]:
        """Sizes, in words, that are dimensions of some tensor of a network for such inputs: they never leave."""
        return {}

    def answered(self, sizes: Sizes, objective: Objective) -> tuple[int, ...]:
        """The dimensions of outputs (N, classes, ...) after the classes."""
        return ()

    def apart(self, network: nn.Module, part: Part) -> dict[str, dict[str, float | None]]:
        """What a network makes of each sort of examples of a part, where there are several: figures by their names."""
        return {}

    def numbers(self, sizes: Sizes) -> int:
        """How many numbers an example has, by which its memory is bounded."""
        tree = self.inputs(sizes)
        return sum(math.prod(one.shape) for one in (tree.values() if isinstance(tree, Mapping) else (tree,)))

    def example(self, sizes: Sizes, batch: int = 1) -> Inputs:
        """Inputs of such sizes in which nothing is drawn: zeros, and whole numbers that go up."""
        return _made(self.inputs(sizes), lambda one: one.plain(batch))

    def drawn(self, sizes: Sizes, batch: int, seed: int = 0) -> Inputs:
        """Inputs of such sizes, drawn."""
        generator = torch.Generator().manual_seed(seed)
        return _made(self.inputs(sizes), lambda one: one.drawn(batch, generator))

    def at_once(self, sizes: Sizes, batch: int) -> int:
        """How many examples of a batch of this size are in memory, where they may be of any size."""
        return 1 if self.alone else min(batch, max(1, self.largest // self.numbers(sizes)))

    def check(self, sizes: Sizes) -> None:
        """Refuses numbers that are no sizes of its inputs.

        Raises:
            UserError: with what they are.
        """
        if len(sizes) != len(self.sizes) or min(sizes) < 1:
            *first, last = self.sizes
            words = f"{', '.join(first)} and {last}" if first else last
            like = ",".join(map(str, self.usual))
            raise OptionError(
                "input", f"is {words} of {self.several}, such as {like}, not {','.join(map(str, sizes))}."
            )

    def counted(self, count: int) -> str:
        """So many examples, in words."""
        return f"one {self.one}" if count == 1 else f"{count} {self.several}"


def _made(tree: Tree, make: Callable[[Entry], Tensor]) -> Inputs:
    return {name: make(one) for name, one in tree.items()} if isinstance(tree, Mapping) else make(tree)
