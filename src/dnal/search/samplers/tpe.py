"""The tree-structured Parzen estimator, by Optuna."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.models.genomes.genome import Genome, Value
from dnal.search.samplers.sampler import TRIES, Course, Fitness, Ground, Sampler
from dnal.search.spaces.space import Chance

T = TypeVar("T", bound=Value)


@dataclass(frozen=True)
class TPE(Sampler):
    """Optuna's tree-structured Parzen estimator over the choices that make a network of the space.

    The first networks are drawn as random search draws them. Then each choice (a length, the kind of a layer, its
    values) is made where networks that were among the best had it more often than the others. A network that breaks the
    budget is told as failed, and another one is asked for. Needs the extra [search].

    Source: J. Bergstra et al., Algorithms for hyper-parameter optimization (NeurIPS 2011); T. Akiba et al., Optuna (KDD
    2019).
    """

    start: int = option(10, "Networks drawn by chance at first.", least=1, most=10_000)
    round: int = option(2, "Networks that are asked for together.", least=1, most=10_000)

    def course(self, ground: Ground) -> Course:
        try:
            import optuna
        except ImportError as error:
            raise UserError(
                f"tpe needs Optuna, which is not installed ({error}): pip install 'dnal[search]', or another --sampler."
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        return Estimator(self, ground)


class Estimator(Course):
    """TPE at work."""

    def __init__(self, options: TPE, ground: Ground) -> None:
        import optuna

        self._options, self._ground, self._draw = options, ground, ground.chance()
        sampler = optuna.samplers.TPESampler(seed=ground.seed % 2**32, n_startup_trials=options.start)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._begun = False
        self._asked: list[tuple[Genome, Any]] = []

    def ask(self) -> list[Genome]:
        number = self._options.round if self._begun else self._options.start
        found = [self._suggested() if self._begun else self._drawn() for _ in range(number)]
        self._begun = True
        self._asked = found
        return [genome for genome, _ in found]

    def tell(self, round: Sequence[tuple[Genome, Fitness]]) -> None:
        import optuna

        worths = dict(round)
        for genome, asked in self._asked:
            fitness = worths.get(genome)
            state = optuna.trial.TrialState.FAIL if fitness is None else optuna.trial.TrialState.COMPLETE
            if isinstance(asked, _Recorded):
                self._study.add_trial(
                    optuna.trial.create_trial(
                        params=asked.values, distributions=asked.distributions, value=fitness, state=state
                    )
                )
            else:
                self._study.tell(asked, fitness, state=state)

    def _drawn(self) -> tuple[Genome, Any]:
        """A network as random search draws it: with the space's own chances, which Optuna does not know."""
        for _ in range(TRIES):
            choices = _Recorded(self._draw)
            genome = self._ground.space.drawn(choices, self._ground.sizes)
            if self._ground.within(genome):
                return genome, choices
        return self._ground.drawn(self._draw), choices  # which says that there is none

    def _suggested(self) -> tuple[Genome, Any]:
        import optuna

        for _ in range(TRIES):
            trial = self._study.ask()
            genome = self._ground.space.drawn(_Suggested(trial), self._ground.sizes)
            if self._ground.within(genome):
                return genome, trial
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return self._drawn()


class _Recorded(Chance):
    """Chance, and what it chose, as Optuna has it."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self.values: dict[str, Value] = {}
        self.distributions: dict[str, Any] = {}

    def __call__(self, name: str, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        found = super().__call__(name, options, weights)
        self.values[name] = found
        self.distributions[name] = (
            IntDistribution(options[0], options[-1]) if isinstance(options, range) else CategoricalDistribution(options)
        )
        return found


class _Suggested:
    """Optuna's choices."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial

    def __call__(self, name: str, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        if isinstance(options, range):
            found: T = self._trial.suggest_int(name, options[0], options[-1])
        else:
            found = self._trial.suggest_categorical(name, list(options))
        return found
