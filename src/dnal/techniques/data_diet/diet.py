"""The technique: scores first, then training on what is kept."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.techniques.data_diet.scoring import scores_of
from dnal.train.examples import examples, only
from dnal.train.loader import InFront, Loader
from dnal.train.setup.reinitialize import check_resettable
from dnal.train.technique import Scene, Technique


@dataclass
class DataDiet(Technique):
    """Data diet: networks that train for a few epochs say which examples matter, and training goes on with those alone.

    `networks` copies with new weights train for `epochs` each; an example's score is the mean over them of the distance
    of the probabilities from its target (el2n), of its gradient's norm (grand), or of how often it was forgotten. The
    `keep` share with the largest scores is kept, after the `skip` share with the very largest, among which mislabelled
    ones are. Costs the scoring, counted in the log as samples. The number of steps stays, as in the paper, so that the
    gain is data and not time; `same_steps=false` shortens the epochs. Few examples, small data or noisy labels (without
    skip) make it lose to random choice. Source: Paul et al., arXiv 2107.07075; forgetting: Toneva et al.,
    arXiv 1812.05159.
    """

    phases: ClassVar[tuple[str, ...]] = ("base",)
    turn: ClassVar[int] = 1

    keep: float = option(0.5, "Share of the training examples that is kept.", above=0, most=1)
    score: Literal["el2n", "grand", "forgetting", "random"] = option("el2n", "By what; random is the control.")
    epochs: int = option(10, "Of the networks that score.", least=1)
    networks: int = option(3, "Over which scores are averaged.", least=1)
    skip: float = option(0.0, "Share of the examples with the largest scores that is left out.", least=0, below=1)
    same_steps: bool = option(True, "Whether an epoch has as many steps as before.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep + self.skip > 1 + 1e-9 and self.keep < 1:
            raise UserError(
                f"data-diet with keep={self.keep:g} and skip={self.skip:g} is more than there is; let both be 1 "
                "together, or less."
            )

    def data(self, loader: Loader, scene: Scene) -> Loader:
        self._examples, self._loss, self._kept = examples(loader), scene.loss, None
        self._count = max(2, round(self.keep * self._examples))
        if self._count >= self._examples:
            warnings.warn("the technique 'data-diet' keeps every example: it changes nothing.", stacklevel=2)
            self._kept = torch.arange(self._examples)
        self._given = loader
        return _Kept(loader, self._choose, self._drawn(torch.arange(self._count)))

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        check_resettable(network)
        self._network: nn.Module | None = copy.deepcopy(network)

    def _choose(self) -> Tensor:
        if self._kept is None:
            assert self._network is not None
            scores = scores_of(
                self._network, self._given, self.score, epochs=self.epochs, networks=self.networks, loss=self._loss
            )
            self._kept = kept(scores, self._count, round(self.skip * self._examples))
        self._network = None
        return self._drawn(self._kept)

    def _drawn(self, indices: Tensor) -> Tensor:
        """What an epoch draws from: those that are kept; or as many examples as there were, so that each that is kept
        is there equally often, or once more."""
        return indices[torch.arange(self._examples) % len(indices)] if self.same_steps else indices

    def record(self) -> dict[str, Any]:
        scored = self.score != "random"
        return {"kept": self._count, "scored_samples": scored * self.networks * (self.epochs + 1) * self._examples}

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self._kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._kept = state["kept"]


def kept(scores: Tensor, count: int, skip: int = 0) -> Tensor:
    """The numbers of the ``count`` examples with the largest scores after the first ``skip``, the largest first.

    Args:
        scores: (N,); equal ones stay in the order of their numbers.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    return order[min(skip, len(order) - count) :][:count]


class _Kept(InFront):
    """A loader of the examples that are kept; which they are is found out when the first batch is wanted, so that a job
    that goes on does not score again."""

    def __init__(self, loader: Loader, choose: Callable[[], Tensor], stand_in: Tensor) -> None:
        super().__init__(only(loader, stand_in))
        self._given, self._choose, self._chosen = loader, choose, False

    def __iter__(self) -> Iterator[Any]:
        if not self._chosen:
            found, self._chosen = only(self._given, self._choose()), True
            if hasattr(found, "load_state_dict"):
                found.load_state_dict(self.behind.state_dict())  # type: ignore[attr-defined]
            self.behind = found
        yield from self.behind
