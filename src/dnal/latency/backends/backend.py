"""What the profile needs of a runtime."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from dnal.latency.layers import Layer
from dnal.space.surgery.inputs import Inputs


class Backend(ABC):
    """A runtime on a device of this machine.

    ``fuses``: batch norms and activations behind a convolution become part of it.
    """

    name: ClassVar[str]
    fuses: ClassVar[bool] = False

    @abstractmethod
    def network(self, network: nn.Module, inputs: Inputs) -> Callable[[], float]:
        """A call that runs the whole network once in eval mode and returns the milliseconds."""

    @abstractmethod
    def layer(self, layer: Layer, shapes: Sequence[tuple[int, ...]]) -> Callable[[int], float] | None:
        """A call that runs one layer so many times and returns the milliseconds of one run.

        Args:
            shapes: of its input tensors.

        Returns:
            None where this backend cannot run such a layer by itself.
        """

    def layers(self, network: nn.Module, inputs: Inputs) -> Callable[[], dict[str, float]] | None:
        """A call that runs the whole network once in eval mode and returns the milliseconds of each module that
        contains no others, by its path, in the order of the forward pass; None where this backend does not know."""
        return None

    @property
    def threads(self) -> int:
        """CPU threads that one operation may use."""
        return torch.get_num_threads()

    @property
    def device(self) -> str:
        """The name of the hardware."""
        return cpu_name()

    @property
    def versions(self) -> dict[str, str]:
        """The libraries that decide the time."""
        return {"torch": torch.__version__}


def cpu_name() -> str:
    """The processor's name as the operating system gives it."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
