"""The weights that a network had early in a phase, from which it may be trained again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dnal.train.step import Step
from dnal.train.technique import Scene, Technique


class EarlyWeights(Technique):
    """Keeps all parameters and buffers of a network as they are after a share of a phase's steps.

    It comes after what draws or scales new weights, and before what holds them in another way.

    Args:
        share: from 0 to 1, rounded to steps; above 0 at least one step. 0: before the first step.
    """

    turn = 1

    def __init__(self, share: float) -> None:
        self._share = share
        self._steps = self._at = 0
        self._weights: dict[str, Tensor] | None = None

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        self._at = max(1, round(self._share * scene.steps)) if self._share else 0
        self._steps = 0
        self._weights = copied(network.state_dict()) if not self._at else None

    def after_step(self, step: Step) -> None:
        self._steps += 1
        if self._steps == self._at:
            self._weights = copied(step.network.state_dict())

    def state_of(self, network: nn.Module) -> dict[str, Tensor]:
        """What was kept; of a phase without steps, the network as it is."""
        return copied(network.state_dict()) if self._weights is None else self._weights

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "weights": None if self._weights is None else dict(self._weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps, weights = state["steps"], state["weights"]
        self._weights = None if weights is None else dict(weights)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of its own, apart from the network's."""
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in state.items()}
