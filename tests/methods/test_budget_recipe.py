import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from scipy.optimize import nnls
from torch import nn

import dnal
from dnal.gates.functions import sigmoid_gates
from dnal.gates.gated import Gated
from dnal.methods.dnal.method import learn_gates
from dnal.methods.dnal.search import START, BudgetSearch, delta_at, limits_at, neutral_multipliers
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from dnal.train.evaluate import accuracy
from dnal.train.phase import Context, Phase

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


def learnt(
    share: float, *, start: float = START, multiple: int = 1, epochs: int = 3
) -> tuple[dnal.Space, torch.Tensor, list[dict[str, Any]]]:
    """A search on the digits from new weights: the Space, s at the end and the records."""
    torch.manual_seed(0)
    train, val, _ = dnal.data.loaders(dnal.data.load("digits"), 64)
    network = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    space = dnal.Space.of(network, torch.zeros(2, 1, 8, 8), probe=False)
    search = BudgetSearch(
        Gated(network, space, start=start), space, {"macs": share * space.full_cost["macs"]}, epochs * len(train),
        widths=WidthRule(divisor=multiple),
    )  # fmt: skip
    s, history = learnt_by(search, train, epochs, validate=lambda module: {"accuracy": accuracy(module, val)})
    return space, s, history


def learnt_by(
    search: BudgetSearch, train: Any, epochs: int, lr: float = 0.05, **more: Any
) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    context = Context(Fabric(accelerator="cpu", devices=1), train, F.cross_entropy)
    return learn_gates(search, Phase("architecture", epochs, lr), context, **more), context.history


def test_gates_that_start_together_at_the_root_of_the_budget_separate() -> None:
    """With every gate at sqrt(.15) = .387 the soft cost keeps 15 % of the MACs for nothing, since batch norm undoes the
    scale. Here that buys nothing, so the gates part."""
    share = 0.15
    start = math.log(math.sqrt(share) / (1 - math.sqrt(share))) / delta_at(0)
    assert float(sigmoid_gates(torch.tensor(start), delta_at(0))) == pytest.approx(math.sqrt(share))
    space, s, history = learnt(share, start=start)
    limit = share * space.full_cost["macs"]
    assert 0.9 * limit <= float(space.costs["macs"](s > 0)) <= limit
    gates = sigmoid_gates(s, history[-1]["delta"])
    assert float(((gates > 0.1) & (gates < 0.9)).double().mean()) < 0.02
    assert history[-1]["accuracy"] > 0.5
    counts = [int((s[g.variables] > 0).sum()) / g.width for g in space.groups]
    assert max(counts) > 1.2 * min(counts)  # they part by what they are worth, not all alike


def test_shrinking_all_gates_together_buys_nothing(network: nn.Module, space: dnal.Space) -> None:
    """Only the signs of s decide loss and hard cost, so that neither a shift nor a factor pays."""
    torch.manual_seed(0)
    gated = Gated(network, space)
    inputs = torch.randn(4, 1, 6, 6)
    s = torch.empty(space.num_gates).uniform_(0.3, 1) * torch.randint(0, 2, (space.num_gates,)).mul(2).sub(1)
    seen = []
    for moved in (s, s - 0.25, s + 0.25, 0.1 * s):
        with torch.no_grad():
            gated.s.copy_(moved)
        gated.hard = True
        outputs, hard = gated(inputs).detach(), float(space.costs["macs"](gated.s > 0))
        soft = float(space.costs["macs"](sigmoid_gates(gated.s.detach(), delta_at(0))))
        seen.append((outputs, hard, soft))
    assert all(torch.equal(outputs, seen[0][0]) and hard == seen[0][1] for outputs, hard, _ in seen)
    assert seen[1][2] < seen[0][2] < seen[2][2]  # a soft budget would have been fooled


def test_every_epoch_logs_the_hard_cost_the_hard_accuracy_and_a_multiplier_per_bound() -> None:
    space, s, history = learnt(0.25)
    assert len(history) == 3
    for record in history:
        assert 0 < record["macs_hard"] <= space.full_cost["macs"]
        assert 0 <= record["accuracy"] <= 1
        assert record["multiplier_macs"] >= 0
    assert history[-1]["multiplier_macs"] > 0
    assert history[-1]["macs_hard"] == float(space.costs["macs"](s > 0))


@pytest.mark.parametrize(("share", "multiple"), [(0.8, 1), (0.25, 1), (0.05, 1), (0.5, 8), (0.1, 8)])
def test_the_same_settings_serve_every_budget(share: float, multiple: int) -> None:
    # Of three or four epochs the last steps still move some widths, on some processors.
    space, s, history = learnt(share, multiple=multiple, epochs=6)
    limits = {"macs": share * space.full_cost["macs"]}
    hard = s > 0
    assert 0.9 * limits["macs"] <= float(space.costs["macs"](hard)) <= limits["macs"]
    assert history[-1]["undecided"] < 0.02
    chosen = select(space, s, limits, WidthRule(divisor=multiple))
    # The ranking moves few variables; where it opens some, to use the budget, it may close others for them.
    assert float((hard & ~chosen).double().mean()) < 0.05
    assert float((chosen & ~hard).double().mean()) < 0.05


def test_settings_do_not_depend_on_the_budget(network: nn.Module, space: dnal.Space) -> None:
    found = []
    for share in (0.8, 0.5, 0.25, 0.1, 0.05):
        gated = Gated(network, space, start=START)
        search = BudgetSearch(gated, space, {"macs": share * space.full_cost["macs"]}, steps=100)
        found.append((search.lr, search.optimizer.defaults, gated.delta, gated.hard, search.multipliers))
    assert all(one == found[0] for one in found)


def test_a_bound_that_does_not_bind_has_no_multiplier(network: nn.Module, space: dnal.Space, batches: Batches) -> None:
    gated = Gated(network, space, start=START)
    limits = {"macs": 0.2 * space.full_cost["macs"], "params": 0.9 * space.full_cost["params"]}
    search = BudgetSearch(gated, space, limits, steps=60)
    for turn in range(60):
        inputs, targets = batches[turn % len(batches)]
        F.cross_entropy(gated(inputs), targets).backward()
        search.step()
    assert search.multipliers["macs"] > 0
    assert search.multipliers["params"] == 0
    assert all(float(space.costs[name](gated.s > 0)) <= limit for name, limit in limits.items())


@pytest.mark.parametrize("alternating", [False, True])
def test_the_search_moves_weights_and_gates_and_logs_both_costs(
    network: nn.Module, space: dnal.Space, batches: Batches, alternating: bool
) -> None:
    gated = Gated(network, space, start=START)
    weight = network[3].weight.detach().clone()
    limits = {"macs": 0.3 * space.full_cost["macs"]}
    search = BudgetSearch(gated, space, limits, 6 * len(batches))
    s, history = learnt_by(search, batches, 6, held_out=batches[:1] if alternating else None)
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
        gated = Gated(fresh_network(), space, start=START)
        search = BudgetSearch(gated, space, {"macs": 0.3 * space.full_cost["macs"]}, 4 * len(train))
        return learnt_by(search, train, 4, 1e-12, held_out=held_out)[0]

    one, other = batches[:2], batches[2:]
    assert torch.allclose(gates_after(one, other), gates_after(other, other), atol=1e-4)
    assert not torch.allclose(gates_after(one, one), gates_after(one, other), atol=1e-2)
    assert torch.allclose(gates_after(one, one), gates_after(one, None), atol=1e-4)


def test_a_search_that_cannot_end_well_is_refused_before_it_starts() -> None:
    network, other = dnal.models.create("vgg_small"), nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    space, of_other = dnal.Space.of(network, torch.rand(1, 1, 8, 8)), dnal.Space.of(other, torch.rand(1, 4))
    gated, least = Gated(network, space), dnal.Architecture.random(space, 0).open
    lowest = space.cost_of(least)["macs"]
    with pytest.raises(dnal.UserError, match="cannot be kept"):
        BudgetSearch(gated, space, {"macs": lowest - 1}, 10)
    BudgetSearch(gated, space, {"macs": lowest}, 10)
    with pytest.raises(dnal.UserError, match="cannot be kept"):
        BudgetSearch(gated, space, {"macs": lowest}, 10, widths=WidthRule(divisor=8))
    with pytest.raises(dnal.UserError, match="needs a limit on one cost or more"):
        BudgetSearch(gated, space, {}, 10)
    with pytest.raises(dnal.UserError, match=f"has {space.num_gates} gates, the space 8 variables"):
        BudgetSearch(gated, of_other, {"macs": 20.0}, 10)
