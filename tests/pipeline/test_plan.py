"""What follows from what was asked."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from dnal.base.errors import UserError
from dnal.bench.suite import OURS, SUITES
from dnal.methods import METHODS
from dnal.pipeline.asked import asked_of, warn_of_blocks
from dnal.pipeline.plan import Plan
from dnal.train.schedule import cosine


def plan(**asked: Any) -> Plan:
    return Plan.of(None, asked_of(**asked))


@pytest.mark.parametrize(
    ("asked", "phases"),
    [
        ({}, (40, 4, 56)),
        ({"epochs": 50}, (20, 2, 28)),
        ({"epochs": 3}, (1, 1, 1)),
        ({"epochs": (3, 2, 1)}, (3, 2, 1)),
        ({"base_is_trained": True}, (0, 0, 60)),
        ({"base_is_trained": True, "method": "dnal"}, (0, 4, 56)),
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


def test_the_default_method_is_by_whether_the_base_is_trained() -> None:
    names = [METHODS.name_of(plan(base_is_trained=trained).asked.method) for trained in (False, True)]
    assert names == ["dnal", "obs"]
    assert METHODS.name_of(plan(base_is_trained=True, method="tas").asked.method) == "tas"


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
        ({"techniques": ["distillation:weight=0.5"], "without": ["distillation"]}, "both asked for and left out"),
        ({"without": ["ema"]}, "'ema' cannot be left out"),
        ({"without": ["distilation"]}, r"did you mean 'distillation'\?$"),
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


@pytest.mark.parametrize("method", ["uniform", "random", "slimming"])
def test_blocks_that_a_method_cannot_rank_are_not_asked_for_in_silence(method: str) -> None:
    with pytest.warns(UserWarning, match=f"'{method}' does not tell which blocks may go"):
        warn_of_blocks(asked_of(method=method, widths={"prune_blocks": True}))
    with warnings.catch_warnings(action="error"):
        assert plan(method=method).asked.widths.prune_blocks is False
        warn_of_blocks(asked_of(method=method))
        warn_of_blocks(asked_of(method="magnitude", widths={"prune_blocks": True}))


def test_two_that_hold_the_weights_in_another_way_are_refused_together() -> None:
    with pytest.raises(UserError, match="'edge-popup' and the technique 'weight-compander' both hold the weights"):
        plan(method="edge-popup", techniques=["weight-compander"])
    plan(method="edge-popup")
    plan(method="magnitude-masks:reset=init", techniques=["weight-compander"], epochs=(1, 2, 1))


def test_epochs_that_are_too_few_for_the_rounds_say_so() -> None:
    with pytest.raises(UserError, match="2 or more for the second, one for each of the rounds before the last"):
        plan(method="tiny", epochs=(1, 1, 1))


def test_what_is_measured_is_what_is_learnt_by_default() -> None:
    base, search, _ = METHODS.of("dnal").epochs
    own = ("trained", "one-cycle", "held-out", "held-out-one-cycle")  # whose lengths are those of another use
    assert {suite.entry(OURS).choosing for suite in SUITES.values() if suite.name not in own} == {search / base}


def rates(phase: Any) -> list[float]:
    return [phase.rate(progress) for progress in (0.0, 0.25, 0.5, 0.75, 1.0)]


def test_a_schedule_over_the_job_is_one_curve_through_all_phases() -> None:
    made = plan(epochs=(30, 10, 60), lr=0.2, schedule_over="job")
    for phase, first, last in zip(made.phases, (0, 30, 40), (30, 40, 100), strict=True):
        whole = [cosine((first + share * (last - first)) / 100, 0.2, 0.03) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        assert rates(phase) == pytest.approx(whole)
    assert max(rate for phase in made.phases for rate in rates(phase)) > 0.19, "the base never comes down from its peak"
    assert made.phase("retrain").rate(1.0) == pytest.approx(0, abs=1e-9)
    own = plan(epochs=(30, 10, 60), lr=0.2)
    assert own.phase("base").rate(1.0) == pytest.approx(0, abs=1e-9), "each has its own otherwise"


def test_a_schedule_over_the_job_of_a_trained_base_starts_gently_at_the_search() -> None:
    made = plan(epochs=(0, 10, 30), lr=0.2, schedule_over="job", base_is_trained=True)
    assert made.phase("architecture").rate(0.0) == plan(lr=0.2, base_is_trained=True).phase("retrain").lr
    assert made.phase("architecture").rate(1.0) == pytest.approx(made.phase("retrain").rate(0.0))


def test_new_weights_have_a_schedule_of_their_own() -> None:
    with pytest.raises(UserError, match="schedule_over is 'phase' where what is left is retrained from new weights"):
        plan(schedule_over="job", method="tas")
    plan(schedule_over="job", method="tas", reinitialize=False)
