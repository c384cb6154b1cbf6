"""What two jobs came to, held against each other."""

from __future__ import annotations

import torch

import dnal


def check_same(one: dnal.Learned, other: dnal.Learned) -> None:
    """To the bit, except for the seconds that they took."""
    assert one.architecture == other.architecture
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, other.network.state_dict()[name]), name
    assert [{**r, "seconds": 0} for r in one.history] == [{**r, "seconds": 0} for r in other.history]
    assert one.figures.base.metric == other.figures.base.metric
    assert one.outcomes == other.outcomes
