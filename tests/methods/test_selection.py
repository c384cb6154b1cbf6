import itertools

import pytest
import torch

import dnal
from dnal.methods.selection import fits, least_costs, select


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
