"""Half precision with a gradient scaler, which lets steps overflow on purpose: such a step moves nothing."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader

import dnal
from dnal.methods.dnal.search import BudgetSearch
from dnal.methods.taylor import taylor_scores

Batches = list[tuple[torch.Tensor, torch.Tensor]]
HUGE = 2.0**60


def search_of(network: nn.Module, space: dnal.Space, steps: int = 40) -> BudgetSearch:
    gated = dnal.Gated(network, space, start=1.0).train()
    return BudgetSearch(gated, space, {"macs": 0.4 * space.full_cost["macs"]}, steps)


def state(search: BudgetSearch, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    own = {name: p for name, p in search.gated.state_dict().items() if "running" not in name and "batches" not in name}
    return copy.deepcopy({"module": own, "search": search.state_dict(), "weights": optimizer.state_dict()["state"]})


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


def test_a_step_that_overflows_moves_neither_weights_nor_gates(
    network: nn.Module, space: dnal.Space, batches: Batches
) -> None:
    search = search_of(network, space)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    stepped = []
    optimizer.register_step_post_hook(lambda *_: stepped.append(True))
    scaler = torch.amp.GradScaler("cpu", init_scale=HUGE, growth_interval=5, backoff_factor=2.0**-12)
    taken = []
    for images, labels in batches * 6:
        before = state(search, optimizer)
        with torch.autocast("cpu", torch.float16):
            loss = F.cross_entropy(search.gated(images), labels)
        scaler.scale(loss).backward()
        stepped.clear()
        scaler.step(optimizer)
        taken.append(search.step(scaler))
        scaler.update()
        search.gated.zero_grad()
        assert taken[-1] == bool(stepped)
        assert same(state(search, optimizer), before) != taken[-1]
    assert not taken[0]
    assert taken.count(False) >= 2  # the huge scale at the start, and one that had grown too large
    assert taken.count(True) >= 10
    assert search.done == taken.count(True)
    assert search.gated.s.isfinite().all()


def test_only_the_weights_overflow(network: nn.Module, space: dnal.Space, batches: Batches) -> None:
    """In the first layer, say, whose weight no gate multiplies."""
    search, optimizer = search_of(network, space), torch.optim.SGD(network.parameters(), 0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(F.cross_entropy(search.gated(batches[0][0]), batches[0][1])).backward()
    network[0].bias.grad.fill_(torch.inf)
    before = state(search, optimizer)
    scaler.step(optimizer)
    assert not search.step(scaler)
    assert same(state(search, optimizer), before)
    scaler.update()
    assert scaler.get_scale() == 2


def test_the_scale_is_no_part_of_the_gradient(network: nn.Module, space: dnal.Space, batches: Batches) -> None:
    def trained(scaler: torch.amp.GradScaler | None) -> BudgetSearch:
        whole = copy.deepcopy(network)
        search, optimizer = search_of(whole, space, 12), torch.optim.SGD(whole.parameters(), 0.05)
        for images, labels in (batches * 3)[:12]:
            loss = F.cross_entropy(search.gated(images), labels)
            if scaler is None:
                loss.backward()
                optimizer.step()
                search.step()
            else:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                search.step(scaler)
                scaler.update()
            search.gated.zero_grad()
        return search

    plain, scaled = trained(None), trained(torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3))
    assert torch.equal(plain.gated.s, scaled.gated.s)
    assert plain.multipliers == scaled.multipliers
    assert plain.multipliers["macs"] > 0


def test_a_gradient_that_is_no_number_is_said_where_nobody_gave_a_scaler(
    network: nn.Module, space: dnal.Space, batches: Batches
) -> None:
    search, optimizer = search_of(network, space), torch.optim.SGD(network.parameters(), 0.05)
    F.cross_entropy(search.gated(batches[0][0]), batches[0][1]).backward()
    search.gated.s.grad[0] = torch.nan
    before = state(search, optimizer)
    with pytest.warns(UserWarning, match=r"step of the search was left out; .*search\.step\(scaler\)"):
        assert not search.step()
    assert same(state(search, optimizer), before)


def half(scale: float) -> Fabric:
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2, backoff_factor=2.0**-8)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    fabric.launch()
    return fabric


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "dnal:held_out=true"},
        {"method": "tas"},
        {"method": "paper:penalty=0.1", "budget": None},
        {"method": "taylor"},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "default",
)
def test_learn_in_half_precision(options: dict[str, Any], network: nn.Module, batches: Batches) -> None:
    """A scale that grows every other step overflows again and again."""
    loader = DataLoader(list(zip(*(torch.cat(x) for x in zip(*batches, strict=True)), strict=True)), 24)
    learned = dnal.learn(
        network, loader, loader, **{"budget": "macs<=50%", "epochs": (1, 4, 1)} | options, fabric=half(HUGE)
    )
    assert all(row["holds"] for row in learned.constraints)
    assert all(p.isfinite().all() for p in learned.network.parameters())
    searched = [row for row in learned.history if row["phase"] == "architecture"]
    if searched and "gates" in searched[-1]:
        assert len({tuple(row["gates"]) for row in searched}) > 1  # the gates did move


def test_taylor_scores_do_not_depend_on_the_scale(network: nn.Module, space: dnal.Space, batches: Batches) -> None:
    plain = taylor_scores(half(1.0), copy.deepcopy(network), space, batches, F.cross_entropy)
    large = taylor_scores(half(2.0**8), copy.deepcopy(network), space, batches, F.cross_entropy)
    assert torch.allclose(plain, large, rtol=0.1, atol=1e-3 * float(plain.max()))
    many = taylor_scores(half(HUGE), copy.deepcopy(network), space, batches * 12, F.cross_entropy)
    assert many.isfinite().all()
    assert many.any()
    with pytest.raises(dnal.UserError, match="overflow in half precision"):
        taylor_scores(half(HUGE), copy.deepcopy(network), space, batches[:1], F.cross_entropy)
