"""What follows from what was asked."""

from __future__ import annotations

from typing import Any

import pytest

from dnal.base.errors import UserError
from dnal.bench.suite import OURS, SUITES
from dnal.methods import METHODS
from dnal.pipeline.asked import asked_of
from dnal.pipeline.plan import Plan


def plan(**asked: Any) -> Plan:
    return Plan.of(None, asked_of(**asked))


@pytest.mark.parametrize(
    ("asked", "phases"),
    [
        ({}, (40, 4, 56)),
        ({"epochs": 50}, (20, 2, 28)),
        ({"epochs": 3}, (1, 1, 1)),
        ({"epochs": (3, 2, 1)}, (3, 2, 1)),
        ({"base_is_trained": True}, (0, 4, 56)),
        ({"method": "paper"}, (40, 20, 40)),
        ({"method": "slimming", "epochs": 10}, (4, 2, 4)),
        ({"method": "uniform"}, (40, 0, 60)),
        ({"method": "uniform", "epochs": (3, 2, 1)}, (3, 0, 3)),
    ],
)
def test_epochs_of_the_phases(asked: dict[str, Any], phases: tuple[int, int, int]) -> None:
    assert tuple(phase.epochs for phase in plan(**asked).phases) == phases


@pytest.mark.parametrize(
    ("epochs", "sentence"),
    [(2, "epochs is 3 or more"), ((1, 1), "3 whole numbers"), ((1, 0, 1), "1 or more for the second")],
)
def test_epochs_that_are_none(epochs: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        plan(epochs=epochs)


def names(**asked: Any) -> list[list[str]]:
    return [[type(technique).__name__ for technique in phase.techniques] for phase in plan(**asked).phases]


def test_the_methods_own_techniques_act_where_nobody_leaves_them_out() -> None:
    assert names() == [[], ["Distillation"], ["Distillation"]]
    assert names(method="paper") == [[], [], []]
    assert names(without=["distillation"]) == [[], [], []]
    assert names(loss=lambda outputs, targets: outputs) == [[], [], []], "it need not be of logits"
    assert names(techniques=["ema", "clipping"]) == [
        ["EMA", "GradientClipping"], ["Distillation", "GradientClipping"], ["Distillation", "EMA", "GradientClipping"],
    ]  # fmt: skip


def test_options_of_a_methods_own_technique_replace_it() -> None:
    (own,) = plan(techniques=["distillation:weight=0.5"]).phases[2].techniques
    assert own.weight == 0.5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"techniques": ["ema", "ema:decay=0.9"]}, "given twice"),
        ({"techniques": ["ema:decay=2"]}, "decay is 0 or more and less than 1"),
        ({"techniques": "ema"}, "techniques are a list"),
        ({"without": ["ema"]}, "'ema' cannot be left out"),
        ({"without": ["distilation"]}, "did you mean 'distillation'"),
    ],
)
def test_techniques_that_cannot_be(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        plan(**asked)


def test_a_technique_that_acts_in_no_phase_that_runs_is_told() -> None:
    with pytest.warns(
        UserWarning, match="'distillation' acts in architecture and retrain, where this job trains nothing"
    ):
        plan(method="uniform", epochs=(3, 0, 0))


def test_what_is_measured_is_what_is_learnt_by_default() -> None:
    base, search, _ = METHODS.of("dnal").epochs
    assert {suite.entry(OURS).choosing for suite in SUITES.values()} == {search / base}
