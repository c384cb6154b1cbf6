"""The method obs: widths, channels and weights from curves; and the same before the gates of dnal."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from dnal.gates.gated import Gated
from dnal.methods.dnal.search import BudgetSearch
from dnal.methods.obs import OBS, curve_scores, kept_by_curves
from dnal.repair.curves import Curve
from dnal.repair.order import leaving
from dnal.train.resume.checkpoint import Checkpoints
from killer import Killed, Killer
from networks import Net, conv
from tasks import task_of


def chain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


def digits() -> dnal.data.Loaders:
    return dnal.data.loaders(dnal.data.load("digits", limit_train=192), 32)


def test_channels_leave_in_the_order_of_what_they_lose_for_what_they_save() -> None:
    """By hand, one channel after the other, for a network whose saving is counted out."""
    network, space = chain(), dnal.Space.of(chain(), torch.zeros(2, 1, 8, 8))
    generator = torch.Generator().manual_seed(3)
    curves = [
        Curve(
            group,
            group.variables[torch.randperm(group.width, generator=generator)],
            torch.cat((torch.zeros(1), torch.rand(group.width - 1, generator=generator))).double().cumsum(0),
        )
        for group in space.groups
    ]
    turn = leaving(space, curves, {"macs": 1.0})
    one, two = 8, 12
    expected = []
    gone = [0, 0]
    worst = [0.0, 0.0]
    while gone != [7, 11]:
        saving = (64 * 9 * (1 + two), 64 * 9 * one + 10)  # of a channel of each group, at these widths
        ratios = []
        for number, curve in enumerate(curves):
            if gone[number] + 1 < len(curve.losses):
                rise = float(curve.losses[gone[number] + 1] - curve.losses[gone[number]])
                ratios.append((max(worst[number], rise) / saving[number], number, rise))
        _, number, rise = min(ratios)
        worst[number] = max(worst[number], rise)
        expected.append(int(curves[number].order[gone[number]]))
        gone[number] += 1
        one, two = 8 - gone[0], 12 - gone[1]
    assert turn.argsort()[: len(expected)].tolist() == expected
    assert float(dnal.macs(network, torch.zeros(2, 1, 8, 8))) == space.full_cost["macs"]


def test_the_task_network_is_rebuilt_and_the_loader_is_where_it_was() -> None:
    network, train = chain(), digits().train
    space = dnal.Space.of(network, torch.zeros(2, 1, 8, 8))
    limits = {"macs": 0.3 * space.full_cost["macs"]}
    before, state, numbers = copy.deepcopy(network), train.state_dict(), torch.get_rng_state()
    task = task_of(network, space, train, limits)
    stays = kept_by_curves(task, OBS(samples=100), limits)
    assert train.state_dict() == state
    assert torch.equal(torch.get_rng_state(), numbers)
    assert float(space.costs["macs"](stays)) <= limits["macs"]
    looked = [batch for _, batch in zip(range(4), digits().train, strict=False)]  # 4 x 32 are the first with 100
    expected = dnal.repair.rebuilt(before, space, stays, looked)
    for name, value in expected.state_dict().items():
        assert torch.allclose(network.state_dict()[name], value, atol=1e-5), name
    unrepaired = copy.deepcopy(before)
    again = kept_by_curves(task_of(unrepaired, space, train, limits), OBS(samples=100, repair=False), limits)
    assert torch.equal(again, stays)
    assert all(torch.equal(v, before.state_dict()[k]) for k, v in unrepaired.state_dict().items())


@pytest.mark.parametrize("held_out", [True, False])
def test_the_gradients_are_those_of_validation_data(held_out: bool) -> None:
    network, given = chain(), digits()
    space = dnal.Space.of(network, torch.zeros(2, 1, 8, 8))
    limits = {"macs": 0.6 * space.full_cost["macs"]}
    val = [(images, torch.full_like(classes, 3)) for images, classes in given.val]  # that mind other outputs
    task = task_of(network, space, given.train, limits, val=val)
    looked = [batch for _, batch in zip(range(4), digits().train, strict=False)]
    expected = {}
    for name, graded in (("val", val), ("train", looked)):
        found = dnal.repair.curves(network, space, looked, F.cross_entropy, graded=graded)
        scores = curve_scores(network, space, leaving(space, found, limits))
        expected[name] = dnal.select(space, scores, limits)
    assert not torch.equal(expected["val"], expected["train"]), "or it would not matter whose they are"
    stays = kept_by_curves(task, OBS(samples=100, held_out=held_out), limits)
    assert torch.equal(stays, expected["val" if held_out else "train"])


def test_without_a_loss_in_eval_mode_gates_choose_alone() -> None:
    """As of detectors, which give losses while they train and boxes otherwise."""

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = chain()

        def forward(self, x: Tensor) -> Any:
            logits = self.layers(x)
            return logits if self.training else {"boxes": logits}

    given = digits()
    options: dict[str, Any] = {
        "budget": "macs<=30%", "epochs": (0, 1, 1), "loss": F.cross_entropy, "metric": lambda network, loader: 0.0,
    }  # fmt: skip
    with pytest.raises(dnal.UserError, match=r"in eval mode, and it fails: TypeError.*; give a loss"):
        dnal.learn(Detector(), given.train, given.val, method="obs", **options)
    with pytest.warns(UserWarning, match="gates alone choose: gradients are taken of the loss"):
        learned = dnal.learn(Detector(), given.train, given.val, **options)
    assert all(row["holds"] for row in learned.constraints)


def test_want_of_memory_is_no_want_of_a_loss() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    batch = (torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.long))
    network = chain()
    with pytest.raises(RuntimeError, match="out of memory"):
        dnal.repair.curves(network, dnal.Space.of(network, batch[0]), [batch], loss)


def test_channels_that_nothing_reads_with_weights_stay_longest() -> None:
    def single_head(n: Net, x: Tensor) -> Tensor:
        q, k, v = n.q(x), n.k(x), n.v(x)
        return n.last((q @ k.transpose(1, 2)).softmax(-1) @ v).mean(1)

    torch.manual_seed(0)
    layers = {"q": nn.Linear(5, 6), "k": nn.Linear(5, 6), "v": nn.Linear(5, 8), "last": nn.Linear(8, 3)}
    network, x = Net(single_head, **layers), torch.randn(16, 4, 5)
    space = dnal.Space.of(network, x)
    found = dnal.repair.curves(network, space, [(x, torch.arange(16) % 3)], F.cross_entropy)
    assert [curve.group.width for curve in found] == [8]
    scores = curve_scores(network, space, leaving(space, found, {"macs": 1.0}))
    keys = next(group for group in space.groups if group.width == 6)
    assert float(scores[keys.variables].min()) > float(scores[found[0].group.variables].max())
    assert bool(scores.isfinite().all())


def two_blocks(width: int) -> Net:
    def compute(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x).relu()
        x = x + n.up(n.down(x).relu())
        x = x + n.up2(n.down2(x).relu())
        return n.last(x).mean((2, 3))

    torch.manual_seed(0)
    return Net(
        compute, stem=conv(1, 8), down=conv(8, width), up=conv(width, 8), down2=conv(8, width), up2=conv(width, 8),
        last=nn.Conv2d(8, 10, 1),
    )  # fmt: skip


def test_a_block_that_says_nothing_leaves_first_and_what_it_said_stays() -> None:
    """Its constant goes to the layers behind it; the other one, which was trained like it, stays."""
    network = two_blocks(6)
    nn.init.zeros_(network.up.weight)
    nn.init.constant_(network.up.bias, 0.5)
    given = digits()
    space = dnal.Space.of(network, torch.zeros(2, 1, 8, 8), depth=True)
    saved = dict(zip(("down", "down2"), space.branches, strict=True))
    gates = torch.ones(space.num_gates)
    gates[saved["down"].variable] = 0
    limit = float(space.costs["macs"](gates))
    before = copy.deepcopy(network).eval()
    stays = kept_by_curves(task_of(network, space, given.train, {"macs": limit}), OBS(), {"macs": limit}, branches=True)
    assert stays.tolist() == gates.bool().tolist()
    x = next(iter(given.val))[0]
    small = dnal.compact(network, dnal.Architecture.of(space, stays)).eval()
    bare = dnal.compact(before, dnal.Architecture.of(space, stays)).eval()
    with torch.no_grad():
        assert (small(x) - before(x)).abs().mean() < 0.2 * (bare(x) - before(x)).abs().mean()


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_an_untrained_network_whose_blocks_may_go_uses_its_budget(share: float) -> None:
    """It loses nothing without any block: all leave before their channels do, which cost nothing from then on."""
    network, given = two_blocks(80), digits()
    space = dnal.Space.of(network, torch.zeros(2, 1, 8, 8), depth=True)
    limits = {"macs": share * space.full_cost["macs"]}
    stays = kept_by_curves(task_of(network, space, given.train, limits), OBS(), limits, branches=True)
    assert 0.95 * limits["macs"] <= space.cost_of(stays)["macs"] <= limits["macs"]


@pytest.mark.parametrize("curves", [False, True])
def test_a_search_in_which_two_blocks_close_at_once_uses_its_budget(curves: bool) -> None:
    network, given = two_blocks(80), digits()
    space = dnal.Space.of(network, torch.zeros(2, 1, 8, 8), depth=True)
    limits, closed = {"macs": 0.4 * space.full_cost["macs"]}, None
    if curves:
        task = task_of(network, space, given.train, limits)
        closed = ~kept_by_curves(task, OBS(), {"macs": 1.5 * limits["macs"]})
    gated = Gated(network, space, start=1.0, closed=closed)
    search = BudgetSearch(gated, space, limits, steps=10)
    x, y = next(iter(given.train))
    for step in range(10):
        F.cross_entropy(gated(x), y).backward()
        if step == 8:
            with torch.no_grad():
                gated.s[[branch.variable for branch in space.branches]] = -1.0
        search.step()
        gated.zero_grad()
    opened = gated.gates() > 0.5
    # Of what the curves left all may be open within the blocks; a channel of the stream is an eighth of the network.
    least = 0.95 if closed is None else 0.85
    assert least * limits["macs"] <= space.cost_of(opened)["macs"] <= limits["macs"] * (1 + 1e-9)
    for variable in (~opened if closed is None else ~opened & ~closed).nonzero().flatten():
        wider = opened.clone()
        wider[variable] = True
        assert space.cost_of(wider)["macs"] > limits["macs"]
    chosen = task_of(network, space, given.train, limits).select(gated.s.detach())
    assert 0.95 * limits["macs"] <= space.cost_of(chosen)["macs"] <= limits["macs"]


def test_branches_of_which_nothing_tells_stay_and_that_is_said() -> None:
    """The stream ends in the outputs: no layer behind the block could be rebuilt."""

    def compute(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x).relu()
        return (x + n.up(n.down(x).relu())).mean((2, 3))

    torch.manual_seed(0)
    network = Net(compute, stem=conv(1, 10), down=conv(10, 6), up=conv(6, 10))
    given = digits()
    with pytest.warns(UserWarning, match="cannot tell what the network loses without 1 of its 1 branches"):
        learned = dnal.learn(
            network, given.train, given.val, budget="macs<=60%", method="obs", epochs=(1, 0, 1),
            widths={"prune_blocks": True},
        )  # fmt: skip
    assert bool(learned.architecture.open[learned.space.num_variables :].all())


# The handover to gates


def handover(**options: Any) -> dnal.Learned:
    given = digits()
    return dnal.learn(
        chain(), given.train, given.val, budget="macs<=30%", method="dnal:curves_to=1.5", epochs=(2, 2, 2), lr=0.05,
        **options,
    )  # fmt: skip


@functools.cache
def whole() -> dnal.Learned:
    return handover()


@pytest.mark.parametrize("at", [5, 13, 18, 25])
def test_a_killed_handover_goes_on_to_the_same_bits(at: int, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        handover(checkpoints=Checkpoints(tmp_path, 2), listener=Killer(at))
    again = handover(checkpoints=tmp_path)
    assert again.architecture == whole().architecture
    for name, tensor in whole().network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


def test_the_search_begins_at_what_the_curves_left_and_opens_nothing_of_the_rest() -> None:
    network, given = chain(), digits()
    space = dnal.Space.of(network, torch.zeros(2, 1, 8, 8))
    limits = {"macs": 0.2 * space.full_cost["macs"]}
    task = task_of(network, space, given.train, limits)
    closed = ~kept_by_curves(task, OBS(), {"macs": 1.5 * limits["macs"]})
    assert 0 < int(closed.sum()) < space.num_gates
    gated = Gated(network, space, start=1.0, closed=closed)
    search = BudgetSearch(gated, space, limits, steps=60)
    left = float(space.costs["macs"](~closed))
    assert search.limits_now()["macs"] == left <= 1.5 * limits["macs"]
    x = torch.randn(3, 1, 8, 8)
    network.eval()
    assert torch.allclose(gated(x), network(x), atol=1e-6), "nothing reads what is closed any more"
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    batches = [batch for _ in range(10) for batch in given.train][:60]
    for number, (images, labels) in enumerate(batches):
        F.cross_entropy(gated(images), labels).backward()
        optimizer.step()
        search.step()
        gated.zero_grad()
        opened = gated.gates() > 0.5
        assert not bool((opened & closed).any())
        assert bool((opened | closed).all()) == (float(space.costs["macs"](opened)) >= left)
        assert number < 1 or float(space.costs["macs"](opened)) <= search.limits_now()["macs"] * (1 + 1e-9)
    assert float(space.costs["macs"](gated.gates() > 0.5)) <= limits["macs"]
    s = gated.s.detach()
    assert float(s[closed].max()) < float(s[~closed].min())


def test_a_budget_near_the_whole_network_leaves_nothing_to_the_curves() -> None:
    network, given = chain(), digits()
    space = dnal.Space.of(network, torch.zeros(2, 1, 8, 8))
    limits = {"macs": 0.9 * space.full_cost["macs"]}
    stays = kept_by_curves(task_of(network, space, given.train, limits), OBS(), {"macs": 1.5 * limits["macs"]})
    assert bool(stays.all())
    assert all(torch.equal(v, chain().state_dict()[k]) for k, v in network.state_dict().items())
