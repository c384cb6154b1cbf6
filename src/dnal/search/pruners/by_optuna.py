"""Optuna's pruners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.search.pruners.pruner import EarlierNetwork, Pruner, StopsEarly

KEPT = 2**16
"""Networks of earlier rounds whose Optuna trials a process caches, at most."""


@dataclass(frozen=True)
class ByOptuna(Pruner):
    """A pruner of Optuna's: a study is given the earlier networks as trials, and judges one more."""

    def check(self, epochs: int) -> None:
        super().check(epochs)
        self._optuna()

    def _optuna(self) -> Any:
        try:
            import optuna
        except ImportError as error:
            raise UserError(
                f"this pruner is Optuna's, which is not installed ({error}): pip install 'dnal[search]', or --pruner "
                "none."
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return optuna

    def judge(self, earlier: Sequence[EarlierNetwork]) -> StopsEarly:
        study = self.study()
        for past in earlier:
            study.add_trial(_recorded(self, past))
        trial, steps = study.ask(), count(1)

        def stops(worth: float) -> bool:
            trial.report(worth, next(steps))
            return bool(trial.should_prune())

        return stops

    def study(self) -> Any:
        """An empty study of Optuna's with this pruner."""
        optuna = self._optuna()
        return optuna.create_study(
            direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=self.optunas()
        )

    def optunas(self) -> Any:
        """The same pruner as an object of Optuna's."""
        raise NotImplementedError


@dataclass(frozen=True)
class MedianPruner(ByOptuna):
    """Optuna's median pruner: a network is stopped if its best fitness so far is below the median of the fitness of the
    others after as many epochs.

    Only networks that were trained to their end count among the others. Source: T. Akiba et al., Optuna (KDD 2019).
    """

    start: int = option(5, "Networks that are trained to their end before any is stopped.", least=0, most=10_000)
    warm_up: int = option(0, "Epochs of a network before it may be stopped.", least=0, most=10_000)

    @property
    def first(self) -> int:
        return self.warm_up + 1

    def optunas(self) -> Any:
        import optuna

        # An epoch counts as warm-up where its number is below Optuna's.
        return optuna.pruners.MedianPruner(n_startup_trials=self.start, n_warmup_steps=self.first)


@dataclass(frozen=True)
class SuccessiveHalving(ByOptuna):
    """Optuna's asynchronous successive halving: after ``least`` epochs, and after each ``reduction`` times as many,
    only the best 1 in ``reduction`` of those that came that far go on.

    Source: L. Li et al., A system for massively parallel hyperparameter tuning (MLSys 2020); T. Akiba et al., Optuna
    (KDD 2019).
    """

    least: int = option(1, "Epochs before the first decision.", least=1, most=10_000)
    reduction: int = option(4, "One in so many goes on at each decision.", least=2, most=1000)

    @property
    def first(self) -> int:
        return self.least

    def optunas(self) -> Any:
        import optuna

        return optuna.pruners.SuccessiveHalvingPruner(min_resource=self.least, reduction_factor=self.reduction)


@lru_cache(KEPT)
def _recorded(pruner: ByOptuna, past: EarlierNetwork) -> Any:
    """A network of an earlier round as a finished trial, with the rungs of successive halving that it reached. Those
    depend on the length of its training alone, so an otherwise empty study records them."""
    import optuna

    study = pruner.study()
    trial = study.ask()
    for step, worth in enumerate(past.curve, 1):
        trial.report(worth, step)
        trial.should_prune()
    if past.stopped:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        study.tell(trial, past.curve[-1])
    return study.trials[0]
