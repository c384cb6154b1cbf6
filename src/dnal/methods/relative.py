"""Scores of layers that differ in scale, made comparable."""

from __future__ import annotations

import torch
from torch import Tensor

from dnal.space.space import Space


def over_mean(scores: Tensor, space: Space) -> Tensor:
    """Every group's scores over their mean, and those of the branches over theirs; shape (num_gates,), as given.

    One ranking of the whole network cannot compare raw scores: a layer whose weights or derivatives are all small
    would lose nearly all of its channels. Source: the normalisation of DepGraph, arXiv 2301.12900.
    """
    scores = scores.clone()
    alone = torch.arange(space.num_variables, space.num_gates)
    for variables in (*(group.variables for group in space.groups), alone):
        if len(variables):
            scores[variables] /= scores[variables].mean().clamp(min=1e-12)
    return scores
