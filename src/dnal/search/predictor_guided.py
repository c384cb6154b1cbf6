"""A sampler guided by a predictor: of the networks that it proposes, those predicted to be best are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from dnal.base.errors import UserError
from dnal.models.genomes.genome import Genome
from dnal.predictors import PREDICTORS, Predictor
from dnal.search.samplers.sampler import Course, Fitness, Sampler

Encoded = Callable[[Sequence[Genome]], NDArray[Any]]
"""Networks -> the features that the predictor reads, (N, F)."""


class PredictorGuided(Course):
    """A sampler at work, of whose proposals a predictor chooses the networks that are trained.

    Until ``warm_up`` networks have a fitness, the first ones of each round are trained, as many as are missing. From
    then on the predictor learns in each round from all that have a fitness, and of the proposals the share
    1 / ``candidates`` is trained, at least one, the best by prediction first. A network that was trained before keeps
    its fitness. The sampler hears nothing of the others, and may propose them again.

    Args:
        course: of the sampler. predictor: stays unfitted; copies of it learn.
        encoded: the features of networks. within: whether a network keeps the budget.
        candidates: proposals for each network that is trained. warm_up: networks with a fitness before it is asked.

    Examples:
        >>> from dnal.predictors import Ridge
        >>> from dnal.search.samplers.chance import RandomSampler
        >>> from dnal.search.samplers.sampler import Ground
        >>> from dnal.search.spaces.layers import Layers
        >>> def depth(genomes):
        ...     return np.array([[len(genome)] for genome in genomes])
        >>> ground = Ground(Layers(), (1, 8, 8), 0, lambda genome: True)
        >>> chance = RandomSampler(round=8).course(ground)
        >>> course = PredictorGuided(chance, Ridge(), depth, ground.within, candidates=4, warm_up=8)
        >>> first = course.ask()
        >>> course.tell([(genome, float(len(genome))) for genome in first])
        >>> second = course.ask()
        >>> len(first), len(second), course.predicted(first[0]), course.predicted(second[0]) > 4
        (8, 2, None, True)
    """

    def __init__(
        self, course: Course, predictor: Predictor, encoded: Encoded, within: Callable[[Genome], bool], *,
        candidates: int, warm_up: int,
    ) -> None:  # fmt: skip
        self._course, self._predictor, self._encoded, self._within = course, predictor, encoded, within
        self._candidates, self._warm_up = candidates, warm_up
        self._proposed: list[Genome] = []
        self._worths: dict[Genome, Fitness] = {}
        self._predicted: dict[Genome, float] = {}

    def ask(self) -> list[Genome]:
        self._proposed = self._course.ask()
        new = [one for one in dict.fromkeys(self._proposed) if one not in self._worths and self._within(one)]
        known = {genome: worth for genome, worth in self._worths.items() if worth is not None}
        missing = self._warm_up - len(known)
        if missing > 0:
            return new[:missing]
        if new and len({*known.values()}) > 1:  # else there is nothing to learn
            model = clone(self._predictor).fit(self._encoded([*known]), [*known.values()])
            predictions = model.predict(self._encoded(new))
            order = np.argsort(-predictions, kind="stable").tolist()
            new = [new[place] for place in order]
            self._predicted |= {genome: float(predictions[place]) for genome, place in zip(new, order, strict=True)}
        return new[: max(1, len(self._proposed) // self._candidates)]

    def tell(self, round: Sequence[tuple[Genome, Fitness]]) -> None:
        self._worths |= dict(round)
        self._course.tell([(one, self._worths[one]) for one in self._proposed if one in self._worths])

    def predicted(self, genome: Genome) -> float | None:
        return self._predicted.get(genome)


def check_predictor(predictor: Predictor, sampler: Sampler, candidates: int) -> None:
    """Refuses, before anything is trained, a predictor that cannot read lists of layers, and a sampler that proposes
    too few networks in a round.

    Raises:
        UserError: with predictors or an option that work.
    """
    if "numbers" not in predictor.reads:
        names = [name for name in PREDICTORS.names() if "numbers" in PREDICTORS.of(name).reads]
        raise UserError(
            f"{PREDICTORS.name_of(predictor)} reads {predictor.reads}, and a search describes a list of layers in "
            f"numbers; take one of {', '.join(names)}."
        )
    if sampler.round_size < candidates:
        raise UserError(
            f"of {candidates} networks the predictor chooses one, and the sampler proposes {sampler.round_size} at "
            "once; let it propose more, such as tpe:round=8, or give fewer --candidates."
        )
