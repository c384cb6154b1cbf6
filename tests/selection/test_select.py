import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

import dnal
from dnal import models
from dnal.selection.opening import longest
from dnal.selection.select import fits, least_costs, select
from dnal.selection.widths import WidthRule


@pytest.mark.parametrize("share", [0.9, 0.5, 0.15, 0.05])
@pytest.mark.parametrize("cost", ["macs", "params"])
def test_budget_holds_every_group_lives_and_nothing_more_fits(space: dnal.Space, share: float, cost: str) -> None:
    limits = {cost: share * space.full_cost[cost]}
    for seed in range(5):
        scores = torch.randn(space.num_variables, generator=torch.Generator().manual_seed(seed))
        chosen = select(space, scores, limits)
        assert fits(space.costs, limits, chosen)
        assert all(bool(chosen[g.variables].any()) for g in space.groups)
        for closed in (~chosen).nonzero().squeeze(1).tolist():
            more = chosen.clone()
            more[closed] = True
            assert not fits(space.costs, limits, more)


def test_all_limits_hold_together(space: dnal.Space) -> None:
    limits = {"macs": 0.4 * space.full_cost["macs"], "params": 0.2 * space.full_cost["params"]}
    assert fits(space.costs, limits, select(space, torch.randn(space.num_variables), limits))


def test_the_best_scored_prefix_is_kept(space: dnal.Space) -> None:
    scores = torch.arange(space.num_variables, dtype=torch.float64).flip(0)
    best = torch.stack([g.variables[scores[g.variables].argmax()] for g in space.groups])
    chosen = select(space, scores, {"macs": 0.5 * space.full_cost["macs"]})
    left_out = (~chosen).nonzero().squeeze(1)
    first_out = scores[left_out].max()  # everything above the best one left out was kept
    assert all(bool(chosen[v]) for v in range(space.num_variables) if scores[v] > first_out)
    assert bool(chosen[best].all())


def test_least_costs_against_every_choice_of_one_channel_a_group(space: dnal.Space) -> None:
    cheapest = {"macs": float("inf"), "params": float("inf")}
    for pick in itertools.product(*[g.variables.tolist() for g in space.groups]):
        chosen = torch.zeros(space.num_variables, dtype=torch.bool)
        chosen[list(pick)] = True
        for name, cost in space.costs.items():
            cheapest[name] = min(cheapest[name], float(cost(chosen)))
    assert least_costs(space) == cheapest


def test_a_budget_of_everything_keeps_everything(space: dnal.Space) -> None:
    assert bool(select(space, torch.randn(space.num_variables), {"macs": space.full_cost["macs"]}).all())


def one_by_one(space: dnal.Space, scores: torch.Tensor, limits: dict[str, float]) -> torch.Tensor:
    """The selection without any shortcut: the best of each group, then every other variable, in order of score."""
    chosen = torch.zeros(space.num_gates, dtype=torch.bool)
    for group in space.groups:
        chosen[group.variables[scores[group.variables].argmax()]] = True
    full: set[int] = set()
    for variable in scores.argsort(descending=True, stable=True).tolist():
        number = next(n for n, g in enumerate(space.groups) if variable in g.variables.tolist())
        if bool(chosen[variable]) or number in full:
            continue
        chosen[variable] = True
        if not fits(space.costs, limits, chosen):
            chosen[variable] = False
            full.add(number)
    return chosen


@pytest.mark.parametrize("share", [0.9, 0.5, 0.15, 0.05])
def test_the_selection_equals_opening_one_variable_after_another(space: dnal.Space, share: float) -> None:
    limits = {"macs": share * space.full_cost["macs"], "params": 1.2 * share * space.full_cost["params"]}
    for seed in range(10):
        scores = torch.randn(space.num_gates, generator=torch.Generator().manual_seed(seed))
        if seed % 2:
            scores = (2 * scores).round()  # ties
        assert torch.equal(select(space, scores, limits), one_by_one(space, scores, limits))


@pytest.mark.parametrize("near", [None, 0, 3, 50, 99, 1000])
def test_the_longest_fitting_number_is_found_from_anywhere(near: int | None) -> None:
    for answer in range(3, 101):
        asked: list[int] = []

        def fitting(count: int, answer: int = answer, asked: list[int] = asked) -> bool:
            asked.append(count)
            return count <= answer

        assert longest(3, 100, fitting, near) == answer
        assert all(3 < count <= 100 for count in asked)
        assert len(asked) == len(set(asked)) <= 15


def test_a_chunk_is_worth_the_mean_of_its_variables(space: dnal.Space) -> None:
    """Two chunks of 4 beside the first ones of 8 and 12: the one whose mean is higher opens."""
    small, large = sorted(space.groups, key=lambda g: g.width)
    scores = torch.zeros(space.num_gates)
    scores[small.variables] = torch.tensor([9.0, 9, 9, 9, 8, 0, 0, 0])
    scores[large.variables] = torch.tensor([9.0, 9, 9, 9, 3, 3, 3, 3, 1, 1, 1, 1])
    one_more = torch.zeros(space.num_gates)
    one_more[small.variables[:4]] = 1
    one_more[large.variables[:8]] = 1
    chosen = select(space, scores, space.cost_of(one_more), WidthRule(divisor=4))
    assert torch.equal(chosen, one_more.bool())


def test_coarse_steps_still_use_the_budget() -> None:
    """A stream of 16 channels that just does not fit would leave a seventh of the budget: it opens before others."""
    network = dnal.models.create("cifar/resnet20", classes=10, input_shape=(3, 32, 32))
    space, widths = dnal.Space.of(network, torch.zeros(2, 3, 32, 32), probe=False), WidthRule(divisor=8)
    for share in (0.8, 0.5, 0.25):
        limit = share * space.full_cost["macs"]
        for seed in range(5):
            scores = torch.rand(space.num_gates, generator=torch.Generator().manual_seed(seed))
            chosen = select(space, scores, {"macs": limit}, widths)
            assert 0.97 * limit <= space.cost_of(chosen)["macs"] <= limit
            for group in space.groups:
                assert int(chosen[group.variables].sum()) in widths.allowed_in(space, group)
                kept, left = group.variables[chosen[group.variables]], group.variables[~chosen[group.variables]]
                assert not left.numel() or scores[kept].min() > scores[left].max()


@pytest.mark.parametrize("multiple", [1, 8])
def test_few_costs_are_asked_for(multiple: int) -> None:
    """A cost may be a measured one, a millisecond a piece: thousands of variables, a few hundred questions."""
    network = dnal.models.create("cifar/mobilenet_v2", classes=10, input_shape=(3, 32, 32))
    space = dnal.Space.of(network, torch.zeros(2, 3, 32, 32), probe=False)
    asked = 0

    def counted(gates: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        asked += 1
        return space.costs["macs"](gates)

    with_latency = space.with_cost("latency", counted)
    for share in (0.5, 0.05):
        asked, limit = 0, share * space.full_cost["macs"]
        scores = torch.rand(space.num_gates, generator=torch.Generator().manual_seed(0))
        chosen = select(with_latency, scores, {"latency": limit}, WidthRule(divisor=multiple))
        assert 0.97 * limit <= space.cost_of(chosen)["macs"] <= limit
        assert space.num_gates > 5000
        assert asked < 10 * len(space.groups)


def test_a_branch_opens_by_its_own_score_and_need_not_stay() -> None:
    network = dnal.models.create("cifar/resnet20", classes=10, input_shape=(3, 32, 32))
    space = dnal.Space.of(network, torch.zeros(2, 3, 32, 32), probe=False, depth=True)
    assert space.num_branches
    scores = torch.rand(space.num_gates, generator=torch.Generator().manual_seed(0))
    scores[space.num_variables] = -1.0
    limit = 0.5 * space.full_cost["macs"]
    chosen = select(space, scores, {"macs": limit})
    assert not bool(chosen[space.num_variables])
    assert 0.97 * limit <= space.cost_of(chosen)["macs"] <= limit
    every = torch.zeros(space.num_gates, dtype=torch.bool)
    for group in space.groups:
        every[group.variables[0]] = True
    assert least_costs(space)["macs"] == space.cost_of(every)["macs"]  # with every branch closed
    every[space.num_variables :] = True
    assert least_costs(space)["macs"] < space.cost_of(every)["macs"]


def test_a_limit_that_cannot_be_kept_is_refused() -> None:
    space = dnal.Space.of(models.create("vgg_small"), torch.rand(1, 1, 8, 8))
    with pytest.raises(dnal.UserError, match="cannot be kept"):
        select(space, torch.ones(space.num_gates), {"macs": 10.0})


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"macs": "30%"}, r"the limit of macs is a number above zero .*, not '30%'; dnal.Budget.parse"),
        ({"macs": float("nan")}, "the limit of macs is a number above zero"),
        ({"macs": -3.0}, "the limit of macs is a number above zero"),
        ({"macs": None}, "the limit of macs is a number above zero"),
        (
            dnal.Budget.parse("macs<=30%"),
            r"limits are a dictionary .*, not a Budget; .*limits\(space.full_cost\) makes such",
        ),
        ({"flops": 1000.0}, "does not state the cost 'flops'; it states macs, params, .* Space.with_cost"),
    ],
)
def test_limits_that_are_none_are_refused_alike(limits: Any, sentence: str) -> None:
    """By the selection, and by the search that comes before it in a loop of one's own."""
    network = models.create("vgg_small")
    space = dnal.Space.of(network, torch.rand(1, 1, 8, 8))
    with pytest.raises(dnal.UserError, match=sentence):
        select(space, torch.ones(space.num_gates), limits)
    with pytest.raises(dnal.UserError, match=sentence):
        dnal.BudgetSearch(dnal.Gated(network, space), space, limits, 10)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda scores: scores[:-1], "one number for each channel variable"),
        (lambda scores: scores[None], "one number for each channel variable"),
        (lambda scores: scores.tolist(), "not list"),
        (lambda scores: scores.index_fill(0, torch.tensor([1, 5]), float("nan")), "^2 of the .* are no number"),
    ],
)
def test_scores_that_rank_nothing_are_refused(change: Callable[[torch.Tensor], Any], sentence: str) -> None:
    space = dnal.Space.of(models.create("vgg_small"), torch.rand(1, 1, 8, 8))
    with pytest.raises(dnal.UserError, match=sentence):
        select(space, change(torch.rand(space.num_gates)), {"macs": 0.5 * space.full_cost["macs"]})
