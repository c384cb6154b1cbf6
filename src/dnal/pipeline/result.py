"""What a job found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from dnal.architecture.architecture import Architecture
from dnal.base.errors import UserError
from dnal.changes import Change
from dnal.space.space import Space


@dataclass(frozen=True)
class Learned:
    """What a job found.

    Attributes:
        network: the compact network, trained, in eval mode.
        change, space: what became of the network, and what might have. architecture: which channels stay.
        history: one record per epoch of all phases.
        base, compact: macs, params, accuracy (the metric on the test data, or on the validation data where there are
            no test data), latency_ms (of a batch of ``deploy_batch_size`` on ``backend``); memory (bytes) if it was
            bounded.
        constraints: per bound: cost, bound, asked and got (in the cost's unit), holds; for the latency, which is
            measured, also what was predicted, and it holds up to 5 %.
        settings: everything decided, as plain values. seconds: per phase, that of its epochs, and of measuring.
        method: what chose the architecture.
        confusion: of "base" and "compact": how often each class (row) of the test data was taken for each (column),
            int64 (classes, classes); none where the metric is another one than accuracy, or there are very many.
        blocks: of a supernet: a line per mixed edge, what is left of it.
    """

    network: nn.Module
    change: Change
    space: Space
    history: list[dict[str, Any]]
    base: dict[str, float]
    compact: dict[str, float]
    constraints: list[dict[str, Any]]
    settings: dict[str, Any]
    seconds: dict[str, float]
    method: str = "dnal"
    confusion: dict[str, Tensor] = field(default_factory=dict)
    blocks: list[str] = field(default_factory=list)

    @property
    def architecture(self) -> Architecture:
        """Which channels stay.

        Raises:
            UserError: the method has not removed channels.
        """
        if self.change.architecture is None:
            raise UserError("this job removed no channels; its change says what it did.")
        return self.change.architecture
