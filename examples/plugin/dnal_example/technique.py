"""A technique: it acts beside any method, in any phase."""

from dataclasses import dataclass

from dnal.base.options import option
from dnal.train.step import Step
from dnal.train.technique import Technique


@dataclass
class CentredGradients(Technique):
    """Takes the mean out of the gradient of every filter (gradient centralisation, Yong et al., arXiv 2004.01461).

    g -> g - mean(g) over all dimensions of a weight except for the first. Costs nothing that can be measured.
    """

    linear: bool = option(True, "Linear layers too, not only convolutions.")

    def after_backward(self, step: Step) -> None:
        for weight in step.network.parameters():
            if weight.grad is not None and weight.dim() > (1 if self.linear else 2):
                weight.grad -= weight.grad.mean(dim=tuple(range(1, weight.dim())), keepdim=True)
