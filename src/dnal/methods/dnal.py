"""DNAL, the default method: architecture parameters learnt by gradient, by either recipe."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from dnal.gates import Gated
from dnal.methods import budget_recipe, paper_recipe
from dnal.methods.registry import register
from dnal.methods.selection import fits, least_costs
from dnal.methods.task import Task
from dnal.methods.widths import Widths


@register("dnal", trains=True, gates=True)
def dnal(task: Task) -> Tensor:
    """Learns the gates of all channels by gradient, by the recipe "budget" or the published one ("paper")."""
    space = task.space
    if task.recipe == "budget":
        gated = Gated(task.network, space, start=budget_recipe.START).to(task.fabric.device)
        held_out = task.val if task.steps == "alternating" else None
        s = budget_recipe.search(
            task.fabric, gated, space, task.limits, task.train, lr=task.lr, held_out=held_out, widths=task.widths,
            **_common(task),
        )  # fmt: skip
        return task.select(s)
    s = ranked_by_paper(task)
    open_variables = paper_recipe.chosen(space, s, paper_recipe.delta_of_epoch(task.epochs, task.epochs))
    if not fits(space.costs, task.limits, open_variables):
        warnings.warn(
            f"lambda={task.lambda_:g} left the network above the budget {task.budget}; its lowest-ranked channels are "
            "dropped too. A larger lambda closes more.",
            stacklevel=6,
        )
        return task.select(s)
    if task.widths == Widths():
        return open_variables
    # The paper knows no rule for widths: of the allowed ones, those that cost no more than what it chose.
    own = max(space.cost_of(open_variables)["macs"], least_costs(space, task.widths)["macs"])
    return task.select(s, {"macs": min(own, task.limits.get("macs", own))})


def ranked_by_paper(task: Task) -> Tensor:
    """The s that the published phase ends with, (num_gates,), before anything is chosen by it."""
    gated = Gated(task.network, task.space).to(task.fabric.device)
    return paper_recipe.search(
        task.fabric, gated, task.space, task.train, lambda_=task.lambda_, **_common(task)
    )  # fmt: skip


def _common(task: Task) -> dict[str, Any]:
    """What both recipes are given alike."""
    return {
        "epochs": task.epochs, "loss": task.loss, "teacher": task.teacher, "validate": task.validate,
        "listener": task.listener, "history": task.history, "keeper": task.keeper,
    }  # fmt: skip
