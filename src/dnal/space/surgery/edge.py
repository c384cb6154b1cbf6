"""A mixed edge: several candidate operations side by side, all of them active, their results summed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


class MixedEdge(nn.Module):
    """y = sum_k op_k(x), and x itself beside them where there is a shortcut.

    The Space finds a branch variable for every candidate that its own parameters scale (its last norm, convolution or
    linear layer), and the channels inside. A candidate that is closed is gone from the compact network; an edge with
    one candidate left becomes that candidate, one with none left its shortcut; without a shortcut one always stays.

    Args:
        candidates: modules from (N, C, H, W) to one common shape, or any other single tensors.
        shortcut: add the input; the candidates must keep its shape.
        recompute: keep no activations inside the candidates in training, and compute them again for the gradients: the
            memory of one candidate instead of all, for about a third more time.

    Source: arXiv 2103.02126, the ProxylessNAS supernet with all candidates summed.

    Examples:
        >>> edge = MixedEdge([nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 5, padding=2)], shortcut=True)
        >>> x = torch.randn(2, 8, 16, 16)
        >>> torch.allclose(edge(x), x + edge.candidates[0](x) + edge.candidates[1](x))
        True
    """

    def __init__(self, candidates: Iterable[nn.Module], *, shortcut: bool = False, recompute: bool = False) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(candidates)
        self.shortcut, self.recompute = shortcut, recompute

    def forward(self, x: Tensor) -> Tensor:
        total = x if self.shortcut else None
        for candidate in self.candidates:
            made: Tensor
            if self.recompute and self.training and torch.is_grad_enabled():
                again = partial(_again, candidate)
                made = checkpoint(candidate, x, use_reentrant=False, context_fn=again)
            else:
                made = candidate(x)
            total = made if total is None else total + made
        assert total is not None, "an edge without a shortcut needs a candidate"
        return total

    def simplified(self) -> nn.Module:
        """What does the same with fewer modules: the shortcut, the only candidate, or this edge."""
        if not len(self.candidates) and self.shortcut:
            return nn.Identity()
        if len(self.candidates) == 1 and not self.shortcut:
            return next(iter(self.candidates))
        return self

    def extra_repr(self) -> str:
        return "shortcut" if self.shortcut else ""


def _again(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The surroundings of the first and of the second computation."""
    return nullcontext(), _statistics_stay(module)


@contextmanager
def _statistics_stay(module: nn.Module) -> Iterator[None]:
    """The running statistics of batch norm are left alone: they have seen this batch."""
    norms = [norm for norm in module.modules() if isinstance(norm, _NormBase) and norm.num_batches_tracked is not None]
    momenta = [norm.momentum for norm in norms]
    seen = [norm.num_batches_tracked.clone() for norm in norms if norm.num_batches_tracked is not None]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, batches in zip(norms, momenta, seen, strict=True):
            norm.momentum = momentum
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.copy_(batches)


def candidate_path(edge: str, name: str) -> str:
    """The path of a candidate, by that of its edge and its name in it."""
    return f"{edge}.candidates.{name}" if edge else f"candidates.{name}"


def candidate_of(edge: str, path: str) -> str | None:
    """The path of the edge's candidate in which a module lies; None where it lies in none."""
    inside = candidate_path(edge, "")
    return inside + path.removeprefix(inside).partition(".")[0] if path.startswith(inside) else None
