"""search: a network where there is none yet, in one call."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnal.base import on_ray
from dnal.base.errors import UserError
from dnal.base.options import flag, from_values, options_of, values_of
from dnal.base.side_by_side import Left, side_by_side
from dnal.costs.deployment import Deployed
from dnal.data import KINDS, Dataset, fingerprint
from dnal.models.genomes.genome import Genome
from dnal.run.files import RESULT
from dnal.run.searched import read_measured
from dnal.search import folder as files
from dnal.search.bounds import Bounds
from dnal.search.course import Progress
from dnal.search.embedding.job import check_alone, mlp_space, search_mlp
from dnal.search.embedding.trained import MLPSpace
from dnal.search.pruners import PRUNERS
from dnal.search.result import EndedWith, SearchResult, figures_of, finished
from dnal.search.samplers import SAMPLERS, Sampler
from dnal.search.samplers.sampler import Course, Ground
from dnal.search.spaces import SPACES, NetworkSpace
from dnal.search.training import (
    Evaluation,
    data_of,
    evaluate,
    evaluation_of,
    finally_trained,
)
from dnal.settings import SEARCH_BUDGET, Searches

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dnal.predictors import Predictor

KILLS = 3
"""How often a process may be killed before any network ends, until the search is given up."""


def search(
    data: str = "digits",
    *,
    space: str | NetworkSpace | MLPSpace = "layers",
    sampler: str | Sampler = "pso",
    budget: str = SEARCH_BUDGET,
    out: str | Path | None = None,
    jobs: int | None = None,
    address: str | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_end: EndedWith = lambda number, candidate: None,
    **options: Any,
) -> SearchResult | None:
    """Searches a space of networks for the best one within a budget, and trains that.

    Each network that the sampler asks for is built, and its cost is known, before it is trained; one that breaks the
    budget is not. All are trained alike, from new weights, and compared by validation data; the best one is trained
    again for longer and measured on the test data once. With a ``predictor`` the sampler only proposes,
    and of every ``candidates`` networks the one predicted to be best is trained. Where the networks of a space share
    weights, these are trained once, and the networks are compared by them.

    Args:
        data: a name as for :func:`dnal.data.load`, of images; for "mlp" a table to regress.
        space: which networks there are: "layers", "layered-graph" or "binary-mobilenet", with options such as
            "layers:channels=16"; or "mlp", in which nothing is sampled: each of the ``evaluations`` is a gradient
            descent in an embedding of networks, which is trained once (:func:`dnal.search.train_embedding`).
        sampler: who chooses: "pso", "aco", "evolution", "random" or "tpe", with options such as "pso:particles=20".
        budget: what a network may cost: "params<=500k,macs<=20M" by default; also memory and latency.
        out: a folder that keeps every network that was trained, so that the same call goes on after a kill with the
            same bytes, and that is a finished run in the end: :func:`dnal.load` gives its network.
        jobs: networks that are trained side by side, a process of one thread each. They do not change the result.
            Default: one, and on Ray as many as it has cores.
        address: of a Ray cluster whose machines train the networks, "auto" for the one that runs here, or "local" for
            a Ray of this machine alone; None: without Ray. It does not change the result either.
        stop: asked between networks. on_end: called with each that ends.
        options: those of :class:`dnal.settings.Searches`: evaluations, epochs, final_epochs, pruner, lr, fitness, seed,
            and others.

    Returns:
        What was found; None where it was stopped.

    Raises:
        UserError: an unknown name, a budget that nothing keeps, or a folder that holds something else.

    Examples:
        >>> found = search("digits", sampler="random:round=2", evaluations=2, epochs=1, final_epochs=1,
        ...                limit_train=64, budget="params<=20k")
        >>> found.model.startswith("layers/conv_"), len(found.candidates), found.figures["params"] <= 20_000
        (True, 2, True)
    """
    asked = from_values(Searches, {"data": data, **options}, "a search")
    if (embedded := mlp_space(space)) is not None:
        check_alone(asked, sampler, jobs, address)
        return search_mlp(asked, embedded, budget, None if out is None else Path(out), stop=stop, on_end=on_end)
    assert not isinstance(space, MLPSpace)
    chosen, by = SPACES.read(space), SAMPLERS.read(sampler)
    asks = _predictor(asked, by)
    _check_shared(asked, chosen, jobs, address)
    PRUNERS.read(asked.pruner).check(asked.epochs)
    place = None if out is None else Path(out)
    dataset = data_of(asked)
    document = documented(asked, chosen, by, budget, fingerprint(dataset))
    work = _Work(asked, chosen, by, asks, budget, dataset, place, jobs, address, stop, on_end)
    if place is None:
        return work.done()
    files.check_folder(place, document)
    with files.claimed(place, document):
        return finished(place) if os.path.lexists(place / RESULT) else work.done()


def documented(asked: Searches, space: NetworkSpace, sampler: Sampler, budget: str, data_sha256: str) -> dict[str, Any]:
    """What search.json says: all that decides what is found."""
    return {
        "space": SPACES.values(space), "sampler": SAMPLERS.values(sampler), "budget": budget,
        "options": values_of(asked), "data_sha256": data_sha256,
    }  # fmt: skip


def _check_shared(asked: Searches, space: NetworkSpace, jobs: int | None, address: str | None) -> None:
    """Refuses options that have no effect where networks share weights and none is trained by itself.

    Raises:
        UserError: such an option was given.
    """
    if space.evaluator(asked) is None:
        return
    unused = {
        "--jobs": jobs is not None and jobs > 1, "--address": address is not None,
        "--pruner": PRUNERS.read(asked.pruner).judges,
    }  # fmt: skip
    for option, given in unused.items():
        if given:
            raise UserError(
                f"the networks of the space '{SPACES.name_of(space)}' share weights, and are measured in one process "
                f"without training; leave {option} out."
            )


def _predictor(asked: Searches, sampler: Sampler) -> Predictor | None:
    """The predictor that guides the search; None without one.

    Raises:
        UserError: it cannot read lists of layers, the sampler proposes too few networks, or options of a
            predictor are given without one.
    """
    if asked.predictor is None:
        for one in options_of(Searches):
            if one.name in ("candidates", "warm_up") and getattr(asked, one.name) != one.default:
                raise UserError(f"{flag(one.name)} needs a predictor; give --predictor boosting.")
        return None
    from dnal.predictors import PREDICTORS
    from dnal.search.predictor_guided import check_predictor

    found = PREDICTORS.read(asked.predictor)
    check_predictor(found, sampler, asked.candidates)
    return found


@dataclass
class _Work:
    """A search from its first network to its last."""

    asked: Searches
    space: NetworkSpace
    sampler: Sampler
    predictor: Predictor | None
    budget: str
    dataset: Dataset
    folder: Path | None
    jobs: int | None
    address: str | None
    stop: Callable[[], bool]
    on_end: EndedWith

    def done(self) -> SearchResult | None:
        """All of it, or what is left; None where it was stopped."""
        begun = time.perf_counter()
        progress, bounds = self._progress()
        progress.advance()
        self._train(progress)
        if not progress.over:
            return None
        if self.folder is not None:
            files.write_candidates(self.folder, progress.candidates)
        best = progress.best
        if best is None:
            reasons = [one.evaluation.why or "it was stopped early" for one in progress.candidates if one.evaluation]
            why = next(iter(reasons), "none keeps the budget")
            raise UserError(f"no network of the search could be trained ({why}); choose another --space or --budget.")
        if self.stop():
            return None
        if PRUNERS.read(self.asked.pruner).judges and not any(
            one.evaluation is not None and one.evaluation.stopped for one in progress.candidates
        ):
            warnings.warn(f"the pruner '{self.asked.pruner}' stopped no network early.", stacklevel=3)
        searched = time.perf_counter()
        network = finally_trained(self.asked, best.model)
        figures = figures_of(self.asked, self.dataset, network, best.costs, self.budget, timed=self.folder is not None)
        constraints = bounds.rows(figures, best.costs)
        if self.folder is not None:
            files.finish(
                self.folder, self.asked, self.dataset, best, network, evaluations=len(progress.candidates),
                budget=str(bounds.budget), figures=figures, constraints=constraints,
                sampler=SAMPLERS.text(self.sampler) + (f" guided by {self.asked.predictor}" if self.predictor else ""),
                seconds={"search": searched - begun, "training": time.perf_counter() - searched},
            )  # fmt: skip
        return SearchResult(best.model, network, progress.candidates, figures, constraints)

    def _progress(self) -> tuple[Progress, Bounds]:
        folder, data = self.folder, self.dataset
        bounds = Bounds(
            self.budget, KINDS[data.kind], data.input_shape, data.classes, self._deployed,
            measured={} if folder is None else read_measured(folder),
            keep=(lambda model, costs: None) if folder is None else partial(files.keep_measured, folder),
        )  # fmt: skip
        bounds.check(self.space)
        ground = Ground(
            self.space, data.input_shape, self.asked.seed, lambda genome: bounds.within(self.space.model(genome))
        )
        known = {} if folder is None else files.known(folder)
        course = self._guided(self.sampler.course(ground), ground, bounds)
        return Progress(self.space, course, bounds, self.asked.evaluations, known), bounds

    def _guided(self, course: Course, ground: Ground, bounds: Bounds) -> Course:
        """The sampler, guided by the predictor where there is one."""
        if self.predictor is None:
            return course
        from dnal.search.encoding import numbers_of
        from dnal.search.predictor_guided import PredictorGuided

        def encoded(genomes: Sequence[Genome]) -> NDArray[np.float64]:
            return numbers_of(self.space, genomes, [bounds.costs(self.space.model(one)) or {} for one in genomes])

        return PredictorGuided(
            course, self.predictor, encoded, ground.within,
            candidates=self.asked.candidates, warm_up=self.asked.warm_up,
        )  # fmt: skip

    @property
    def _deployed(self) -> Deployed:
        return Deployed.of(self.asked.deploy_batch_size, self.asked.backend)

    def _train(self, progress: Progress) -> None:
        """Trains what is asked for, one after the other or side by side."""

        def ended(number: int, evaluation: Evaluation) -> None:
            candidate = progress.candidates[number]
            candidate.evaluation = evaluation
            if self.folder is not None:
                files.keep(self.folder, candidate)
            self.on_end(number, candidate)
            progress.advance()

        if self.address is not None and not progress.over:
            with on_ray.connected(self.address, "a search with --address") as machines:
                at_once = self.jobs or machines.cores
                on_workers = partial(on_ray.side_by_side_on_ray, at_once=at_once, gpu=machines.gpu_share(at_once))
                self._side_by_side(progress, ended, on_workers)
            return
        if self.jobs is not None and self.jobs > 1:
            self._side_by_side(progress, ended, partial(side_by_side, at_once=self.jobs))
            return
        number, shared = 0, self.space.evaluator(self.asked)
        while (candidate := progress.candidate(number)) is not None and not self.stop():
            if candidate.evaluation is None:
                trained = partial(evaluation_of, self.asked, earlier=progress.earlier(number))
                ended(number, (shared or trained)(candidate.model))
            number += 1

    def _side_by_side(
        self, progress: Progress, ended: Callable[[int, Evaluation], None], do: Callable[..., Left[int]]
    ) -> None:
        """The same in processes. A network whose process was killed is trained again.

        Args:
            do: runs jobs side by side, here or on Ray; as :func:`side_by_side`.

        Raises:
            UserError: processes are killed again and again.
        """

        def ready(number: int) -> bool:
            candidate = progress.candidate(number)
            return candidate is not None and candidate.evaluation is None

        def weight(number: int) -> float:  # a large one at the end of a round would leave other workers idle
            return progress.candidates[number].costs.get("macs", 0.0)

        kills = 0
        while not progress.over and not self.stop():
            before = sum(one.evaluation is not None for one in progress.candidates)
            left = do(
                evaluate, range(self.asked.evaluations),
                arguments=lambda number: (self.asked, progress.candidates[number].model, progress.earlier(number)),
                stop=self.stop, ready=ready, weight=weight,
                ended=lambda number, answer: ended(number, Evaluation.from_text(answer)),
            )  # fmt: skip
            if not left.killed:
                return
            kills = 0 if sum(one.evaluation is not None for one in progress.candidates) > before else kills + 1
            if kills == KILLS:
                raise UserError(
                    "processes that train networks are killed again and again, perhaps for want of memory; fewer "
                    "--jobs take less, and the same command goes on."
                )
