"""Gradient clipping."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from dnal.base.options import option
from dnal.train.step import Step
from dnal.train.technique import Technique


@dataclass
class GradientClipping(Technique):
    """Clips the gradient of all weights together to a largest norm (torch.nn.utils.clip_grad_norm_).

    g = g * min(1, norm / ||g||) before the optimizer's step. Helps transformers and recurrent networks, and high
    learning rates. Costs a pass over the gradients. Source: Pascanu et al., arXiv 1211.5063.
    """

    norm: float = option(1.0, "The largest norm.", above=0)

    def after_backward(self, step: Step) -> None:
        step.unscale(step.optimizer)
        weights = [parameter for group in step.optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(weights, self.norm)
