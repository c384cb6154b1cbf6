from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from scipy.optimize import nnls
from torch import nn

import dnal
from dnal.gates import Gated
from dnal.methods import budget_recipe
from dnal.methods.budget_recipe import START, BudgetSearch, delta_at, limits_at, neutral_multipliers

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def test_the_budget_of_the_moment_waits_then_tightens_then_holds() -> None:
    full, limits = {"macs": 1000.0}, {"macs": 10.0}
    at = [limits_at(p / 100, full, limits)["macs"] for p in range(101)]
    assert at[0] == at[10] == pytest.approx(1000)
    assert at[40] == pytest.approx(100)  # halfway, geometrically
    assert at[70] == at[100] == pytest.approx(10)
    assert at == sorted(at, reverse=True)


def test_delta_grows_only_once_the_budget_is_met() -> None:
    assert delta_at(0) == delta_at(0.7) == 2
    assert delta_at(1) == pytest.approx(1000)


def test_one_multiplier_makes_the_step_neutral_in_cost() -> None:
    torch.manual_seed(0)
    task, cost, scale = -torch.rand(20), torch.rand(20), torch.rand(20)
    (multiplier,) = neutral_multipliers(task, cost[None], scale)
    assert float(multiplier) == pytest.approx(-float(cost @ (scale * task)) / float(cost @ (scale * cost)))
    step = -scale * (task + multiplier * cost)
    assert float(cost @ step) == pytest.approx(0, abs=1e-5)
    assert float(neutral_multipliers(-task, cost[None], scale)) == 0  # the task itself wants less: no need to push


@pytest.mark.parametrize("seed", range(20))
def test_several_multipliers_solve_the_least_squares_problem_of_scipy(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    task = torch.randn(30, generator=generator) - 0.5
    costs, scale = torch.rand(3, 30, generator=generator), torch.rand(30, generator=generator)
    if seed % 4 == 0:
        costs[2] = 2 * costs[1]  # the same direction twice
    root = scale.double().sqrt()
    expected, residual = nnls((root * costs).T.double().numpy(), -(root * task).double().numpy())
    found = neutral_multipliers(task, costs, scale)
    assert bool((found >= 0).all())
    assert float((root * (task + found @ costs.double())).norm()) == pytest.approx(residual, rel=1e-6)
    if seed % 4:
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    step = -scale * (task + found @ costs.double())
    assert bool((costs.double() @ step <= 1e-5).all()), "no cost rises"


def test_a_users_own_loop_meets_the_budget_at_every_moment(
    network: nn.Module, space: dnal.Space, batches: Batches
) -> None:
    gated = Gated(network, space, start=START)
    limits = {"macs": 0.25 * space.full_cost["macs"]}
    search = BudgetSearch(gated, space, limits, steps=120)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    reopened, before = False, gated.s > 0
    for turn in range(120):
        inputs, targets = batches[turn % len(batches)]
        F.cross_entropy(gated(inputs), targets).backward()
        optimizer.step()
        search.step()
        gated.zero_grad()
        now = limits_at(search.progress, space.full_cost, limits)["macs"]
        assert float(space.costs["macs"](gated.s > 0)) <= now + 1e-6
        assert float(gated.s.detach().abs().max()) <= START
        reopened |= bool(((gated.s > 0) & ~before).any())
        before = gated.s > 0
    closed = torch.where(gated.s > 0, -torch.inf, gated.s.detach())
    more = gated.s > 0
    more[closed.argmax()] = True  # the next in the ranking does not fit: nothing is left unused
    assert float(space.costs["macs"](more)) > limits["macs"]
    assert reopened, "a closed channel can come back"
    soft = torch.sigmoid(gated.delta * gated.s)
    assert float(((soft > 0.1) & (soft < 0.9)).double().mean()) < 0.05


def test_gates_that_start_together_at_the_root_of_the_budget_separate(
    network: nn.Module, space: dnal.Space, batches: Batches
) -> None:
    """Shrinking all gates together meets a soft budget for nothing; here it buys nothing, so they part."""
    gated = Gated(network, space, start=float(torch.logit(torch.tensor(0.5))))
    search = BudgetSearch(gated, space, {"macs": 0.25 * space.full_cost["macs"]}, steps=80)
    for turn in range(80):
        inputs, targets = batches[turn % len(batches)]
        F.cross_entropy(gated(inputs), targets).backward()
        search.step()
    s = gated.s.detach()
    assert float(s[s > 0].mean() - s[s <= 0].mean()) > 0.2
    assert float(space.costs["macs"](s > 0)) <= search.limits["macs"]


@pytest.mark.parametrize("alternating", [False, True])
def test_the_search_moves_weights_and_gates_and_logs_both_costs(
    network: nn.Module, space: dnal.Space, batches: Batches, alternating: bool
) -> None:
    gated = Gated(network, space, start=START)
    weight = network[3].weight.detach().clone()
    history: list[dict[str, float]] = []
    limits = {"macs": 0.3 * space.full_cost["macs"]}
    s = budget_recipe.search(
        Fabric(accelerator="cpu", devices=1), gated, space, limits, batches,
        epochs=6, lr=0.05, loss=F.cross_entropy, held_out=batches[:1] if alternating else None, history=history,
    )  # fmt: skip
    assert not torch.equal(weight, network[3].weight)
    assert s.shape == (space.num_variables,)
    assert history[-1]["macs_hard"] <= limits["macs"]
    assert history[-1]["macs_soft"] == pytest.approx(history[-1]["macs_hard"], rel=0.1)
    assert history[-1]["undecided"] < 0.05


def test_the_held_out_data_move_the_gates_and_the_training_data_do_not(
    fresh_network: Callable[[], nn.Module], space: dnal.Space, batches: Batches
) -> None:
    """With weights that (almost) stand still, s follows the data that it sees and nothing else."""

    def gates_after(train: Batches, held_out: Batches | None) -> torch.Tensor:
        return budget_recipe.search(
            Fabric(accelerator="cpu", devices=1), Gated(fresh_network(), space, start=START), space,
            {"macs": 0.3 * space.full_cost["macs"]}, train,
            epochs=4, lr=1e-12, loss=F.cross_entropy, held_out=held_out,
        )  # fmt: skip

    one, other = batches[:2], batches[2:]
    assert torch.allclose(gates_after(one, other), gates_after(other, other), atol=1e-4)
    assert not torch.allclose(gates_after(one, one), gates_after(one, other), atol=1e-2)
    assert torch.allclose(gates_after(one, one), gates_after(one, None), atol=1e-4)
