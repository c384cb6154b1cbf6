"""What exporting needs of a file format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor
from torch.export import ExportedProgram

from dnal.export.sizes import Free
from dnal.space.surgery.inputs import Inputs

Run = Callable[[Inputs], list[Tensor]]
"""Runs a file on inputs and returns its output tensors in the network's order."""


class Format(ABC):
    """A kind of file.

    Attributes:
        name: how a user asks for it.
        suffix: how its files end.
        runtime: what loads and runs them here.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    runtime: ClassVar[str]

    @abstractmethod
    def contents(self, program: ExportedProgram, metadata: Mapping[str, str], free: Free) -> bytes:
        """The bytes of the file; ``free``: the names of the sizes that are free beside the batch.

        Raises:
            UserError: where PyTorch cannot write this program so.
        """

    @abstractmethod
    def runner(self, contents: bytes) -> Run:
        """The bytes of a file, loaded by its own runtime on the CPU."""
