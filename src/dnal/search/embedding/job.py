"""A search by gradient descent: a descent after another, and the best hard network of all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dnal import data as data_sets
from dnal.base.errors import UserError
from dnal.base.options import flag, from_text, options_of, values_of
from dnal.costs.deployment import Deployed
from dnal.data import KINDS, Dataset, fingerprint
from dnal.data.loader import EpochLoader
from dnal.run.files import RESULT
from dnal.search import folder as files
from dnal.search.bounds import Bounds
from dnal.search.course import Candidate
from dnal.search.embedding.autoencoder import Autoencoder
from dnal.search.embedding.descent import descended, network_of
from dnal.search.embedding.trained import MLPSpace, kept
from dnal.search.result import EndedWith, SearchResult, figures_of, finished
from dnal.search.samplers import Sampler
from dnal.search.training import MEASURED_AT_ONCE, Evaluation, one_thread
from dnal.settings import Searches
from dnal.train.evaluate import measured

NAME = "mlp"
MEANT = ("data", "root", "limit_train", "batch_size", "evaluations", "seed", "deploy_batch_size", "backend")
"""Options of a search that mean something here. Those of training do not: a descent finds the weights too."""


def mlp_space(space: object) -> MLPSpace | None:
    """The space of MLPs with its options, where ``space`` is it; else None.

    Raises:
        UserError: an option that it has not.
    """
    if isinstance(space, MLPSpace):
        return space
    name, _, said = space.partition(":") if isinstance(space, str) else ("", "", "")
    return from_text(MLPSpace, said, f"the space '{NAME}'") if name == NAME else None


def check_alone(asked: Searches, sampler: str | Sampler, jobs: int | None, address: str | None) -> None:
    """Refuses what has no meaning where nothing is sampled and nothing trained.

    Raises:
        UserError: naming it.
    """
    for one in options_of(Searches):
        if one.name not in MEANT and getattr(asked, one.name) != one.default:
            raise UserError(f"the space '{NAME}' is searched by gradient descent and has no {flag(one.name)}.")
    unused = {"--sampler": sampler != "pso", "--jobs": jobs not in (None, 1), "--address": address is not None}
    for option, given in unused.items():
        if given:
            raise UserError(f"the space '{NAME}' is searched by gradient descent and has no {option}.")


def search_mlp(
    asked: Searches, space: MLPSpace, budget: str, folder: Path | None, *, stop: Callable[[], bool], on_end: EndedWith
) -> SearchResult | None:
    """The best of ``asked.evaluations`` descents, whose depths go round; compared by R² on the validation data.

    Raises:
        UserError: there is no embedding yet, the data are no table to regress or too wide, nothing keeps the budget, or
            the folder holds something else.
    """
    embedding, digest = kept(space)
    dataset = _table(asked, space)
    document = {
        "space": {"name": NAME, **values_of(space)}, "sampler": {"name": "descent"}, "budget": budget,
        "options": values_of(asked), "data_sha256": fingerprint(dataset), "embedding_sha256": digest,
    }  # fmt: skip
    if folder is not None:
        files.check_folder(folder, document)
    with nullcontext() if folder is None else files.claimed(folder, document):
        if folder is not None and os.path.lexists(folder / RESULT):
            return finished(folder)
        return _Descents(asked, space, budget, dataset, embedding, folder, stop, on_end).done()


def _table(asked: Searches, space: MLPSpace) -> Dataset:
    dataset = data_sets.load(asked.data, root=asked.root, limit_train=asked.limit_train, seed=asked.seed, kind="tables")
    if dataset.objective.name != "regression" or dataset.classes != 1:
        raise UserError(
            f"the space '{NAME}' is for tables with one number to predict, and '{asked.data}' is for "
            f"{dataset.objective.name}; say task=regression if that is meant."
        )
    if dataset.input_shape[0] > space.width:
        raise UserError(
            f"'{asked.data}' has {dataset.input_shape[0]} columns, and the space '{space.text}' takes {space.width}; "
            f"say {NAME}:width={dataset.input_shape[0]}, which has an embedding of its own."
        )
    return dataset


@dataclass
class _Descents:
    """A search from its first descent to its last."""

    asked: Searches
    space: MLPSpace
    budget: str
    dataset: Dataset
    embedding: Autoencoder
    folder: Path | None
    stop: Callable[[], bool]
    on_end: EndedWith

    def done(self) -> SearchResult | None:
        """All of them, or what is left; None where it was stopped."""
        begun = time.perf_counter()
        deployed = Deployed.of(self.asked.deploy_batch_size, self.asked.backend)
        bounds = Bounds(self.budget, KINDS["tables"], self.dataset.input_shape, 1, deployed)
        candidates: list[Candidate] = []
        if self.folder is not None:
            files.known(self.folder)  # which removes what a kill left half written
            candidates = files.ended(self.folder)
        for number in range(len(candidates), self.asked.evaluations):
            if self.stop():
                return None
            candidates.append(self._candidate(number, bounds))
            if self.folder is not None:
                files.keep(self.folder, candidates[-1])
            self.on_end(number, candidates[-1])
        fitness = {
            number: one.evaluation.fitness for number, one in enumerate(candidates)
            if one.evaluation is not None and one.evaluation.fitness is not None
        }  # fmt: skip
        if not fitness:
            raise UserError("no network of the search keeps the budget; allow more, or a larger sparsity of the space.")
        searched = time.perf_counter()
        number = max(fitness, key=lambda number: (fitness[number], -candidates[number].costs["params"]))
        best, (_, network) = candidates[number], self._found(number)
        figures = figures_of(self.asked, self.dataset, network, best.costs, self.budget, timed=self.folder is not None)
        constraints = bounds.rows(figures, best.costs)
        if self.folder is not None:
            files.finish(
                self.folder, self.asked, self.dataset, best, network, evaluations=len(candidates),
                budget=str(bounds.budget), figures=figures, constraints=constraints,
                sampler="gradient descent in an embedding of MLPs",
                seconds={"search": searched - begun, "training": time.perf_counter() - searched},
            )  # fmt: skip
        return SearchResult(best.model, network, candidates, figures, constraints)

    def _candidate(self, number: int, bounds: Bounds) -> Candidate:
        model, network = self._found(number)
        if not bounds.within(model):
            return Candidate(model, number + 1, {}, Evaluation(None, "it breaks the budget"))
        with one_thread():
            metric = self.dataset.metric
            assert metric is not None
            value = measured(metric, network, EpochLoader(self.dataset.val, MEASURED_AT_ONCE), "validation")
        return Candidate(model, number + 1, bounds.costs(model) or {}, Evaluation(value))

    def _found(self, number: int) -> tuple[str, nn.Module]:
        """Name and network of a descent, which follow from its number, the seed and what is asked alone."""
        train = self.dataset.train
        x, y = train.batch(torch.arange(len(train)), 0)
        x_scale, y_scale = _largest(x), float(_largest(y[:, :1]))
        depth = number % self.space.depth + 1
        with one_thread():
            found = descended(
                self.embedding, x / x_scale, y[:, 0] / y_scale, depth, self.space, 1_000_003 * self.asked.seed + number
            )
        return network_of(found.networks, x_scale, y_scale)


def _largest(x: Tensor) -> Tensor:
    """Of each column the largest absolute value, 1 where all are 0."""
    found = x.abs().amax(0)
    return torch.where(found > 0, found, torch.ones_like(found))
