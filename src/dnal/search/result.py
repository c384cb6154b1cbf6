"""What a search found, read from its folder or measured at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dnal.costs.cost import COSTS
from dnal.costs.deployment import Deployed
from dnal.data import KINDS, Dataset, loaders
from dnal.run.config import read_config
from dnal.run.loading import load, read_result
from dnal.search.bounds import Bounds, Known
from dnal.search.course import Candidate
from dnal.search.folder import ended
from dnal.search.training import MEASURED_AT_ONCE, one_thread
from dnal.settings import Searches
from dnal.train.evaluate import accuracy, measured

EndedWith = Callable[[int, Candidate], None]
"""(number of the network, from 0, and what is known of it), as each ends."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        model: the name of the best network, its genome as text. network: trained, in eval mode, on the CPU.
        candidates: the networks that were trained, in the order in which they were asked for.
        figures: of the best one, by their names in result.json; its metric is that of the test data. The latency is
            among them where there is a folder, or a bound on it.
        constraints: a row per bound: cost, bound, asked, got, holds.
    """

    model: str
    network: nn.Module
    candidates: list[Candidate]
    figures: dict[str, Any]
    constraints: list[dict[str, Any]]


def finished(folder: Path) -> SearchResult:
    """What a search found that is at its end.

    Raises:
        UserError: the folder is damaged.
    """
    result = read_result(folder)
    return SearchResult(
        read_config(folder).model, load(folder), ended(folder), result["compact"], result.get("constraints", [])
    )


def figures_of(
    asked: Searches, data: Dataset, network: nn.Module, known: Known, budget: str, *, timed: bool
) -> dict[str, Any]:
    """Costs of the best network, and its metric on the test data, which nothing else has seen.

    Args:
        known: costs that are known. timed: whether what a clock measures is measured again.
    """
    costs = {COSTS[name].figure: value for name, value in known.items()}
    if timed:
        example = KINDS[data.kind].example(data.input_shape)
        deployed = Deployed.of(asked.deploy_batch_size, asked.backend)
        (costs,) = deployed.figures([network], example, Bounds.named(budget))
    with one_thread():
        test = loaders(data, asked.batch_size, eval_batch_size=MEASURED_AT_ONCE).test
        metric = measured(data.metric or accuracy, network, test, "test")
    return {**costs, data.objective.figure: metric}
