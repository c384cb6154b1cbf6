"""The widths that processors like, under budgets: as coarse as the budget lets them be."""

import pytest
import torch

import dnal
from dnal.costs.budget import Budget
from dnal.methods import METHODS
from dnal.pipeline.feasibility import selected, widths_of
from dnal.pipeline.plan import Asked, Plan
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from dnal.settings import Widths


@pytest.fixture(scope="module", params=["cifar/resnet20", "cifar/vgg16_bn_quarter"])
def space(request: pytest.FixtureRequest) -> dnal.Space:
    network = dnal.models.create(request.param, classes=10, input_shape=(3, 32, 32))
    return dnal.Space.of(network, torch.zeros(2, 3, 32, 32), probe=False)


def used(space: dnal.Space, chosen: torch.Tensor, limits: dict[str, float]) -> float:
    return max(space.cost_of(chosen)[name] / limit for name, limit in limits.items())


@pytest.mark.parametrize("share", [0.8, 0.5, 0.25, 0.1, 0.03])
def test_the_budget_is_used_up_to_99_percent_and_no_width_is_finer_than_that_takes(
    space: dnal.Space, share: float
) -> None:
    limits = {"macs": share * space.full_cost["macs"]}
    for seed in range(3):
        scores = torch.rand(space.num_gates, generator=torch.Generator().manual_seed(seed))
        plan = Plan.of(f"macs<={100 * share:g}%", Asked(METHODS.read("uniform"), widths=Widths(divisor="auto")))
        rule: WidthRule | None = widths_of(plan, space)
        assert rule is not None
        chosen = selected(space, scores, limits, rule, None)
        assert used(space, chosen, limits) <= 1
        coarser = []
        while rule is not None and not torch.equal(chosen, select(space, scores, limits, rule)):
            coarser.append(rule)
            rule = rule.finer
        assert rule is not None, "what is chosen follows one of the rules"
        assert used(space, chosen, limits) >= 0.99 or rule.finer is None
        assert all(used(space, select(space, scores, limits, own), limits) < 0.99 for own in coarser)
        for group in space.groups:
            assert int(chosen[group.variables].sum()) in rule.allowed_in(space, group)


def test_a_number_that_was_asked_for_is_kept_whatever_is_left_unused(space: dnal.Space) -> None:
    plan = Plan.of("macs<=70%", Asked(METHODS.read("uniform"), widths=Widths(divisor=16, min_width=3)))
    rule = widths_of(plan, space)
    assert rule == WidthRule(3, 16)
    limits = Budget.parse("macs<=70%").limits(space.full_cost)
    scores = torch.rand(space.num_gates)
    chosen = selected(space, scores, limits, rule, None)
    assert all(int(chosen[g.variables].sum()) in rule.allowed_in(space, g) for g in space.groups)
