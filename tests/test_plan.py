"""What follows from what was asked."""

from __future__ import annotations

import pytest

from dnal.base.errors import UserError
from dnal.bench.suite import OURS, SUITES
from dnal.plan import DEFAULT_EPOCHS, Plan

UNSAID = {
    "budget": None, "recipe": "budget", "base_is_trained": False, "epochs": None, "lr": None, "lambda_": None,
    "distil": False, "steps": "joint", "seed": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "phases"),
    [
        ({}, (40, 4, 56)),
        ({"epochs": 50}, (20, 2, 28)),
        ({"epochs": 3}, (1, 1, 1)),
        ({"epochs": (3, 2, 1)}, (3, 2, 1)),
        ({"base_is_trained": True}, (0, 4, 56)),
        ({"recipe": "paper"}, (40, 20, 40)),
        ({"method": "slimming", "epochs": 10}, (4, 2, 4)),
        ({"method": "uniform"}, (40, 0, 60)),
        ({"method": "uniform", "epochs": (3, 2, 1)}, (3, 0, 3)),
    ],
)
def test_epochs_of_the_phases(asked: dict[str, object], phases: tuple[int, int, int]) -> None:
    assert Plan.of(**(UNSAID | asked)).epochs == phases  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("epochs", "told"), [(2, "at least 3 epochs"), ((1, 1), "three phases"), ((1, 0, 1), "needs one")]
)
def test_epochs_that_are_none(epochs: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        Plan.of(**(UNSAID | {"epochs": epochs}))  # type: ignore[arg-type]


def test_what_is_measured_is_what_is_learnt_by_default() -> None:
    base, search, _ = DEFAULT_EPOCHS
    assert {suite.entry(OURS).choosing for suite in SUITES.values()} == {search / base}
