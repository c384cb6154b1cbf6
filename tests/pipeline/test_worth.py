"""What removed MACs are worth: proportions, what is tried, and where the time goes."""

import torch
from torch import nn

import dnal
from dnal.costs.deployment import Deployed
from dnal.latency.profiling import layers_ms
from dnal.pipeline.worth import proportional, worth_of
from dnal.selection.select import select


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Sequential(nn.Conv2d(64, 96, 1), nn.ReLU()),
        nn.Conv2d(96, 80, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(80, 5),
    ).eval()  # fmt: skip


def opened(space: dnal.Space, share: float) -> torch.Tensor:
    scores = torch.rand(space.num_gates, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return select(space, scores, {"macs": share * space.full_cost["macs"]})


def test_proportional_scores_keep_what_was_chosen() -> None:
    """Within the same MACs they open the same channels, within others the same shares of the groups' widths."""
    space = dnal.Space.of(network(), torch.zeros(2, 3, 8, 8))
    chosen = opened(space, 0.3)
    own = space.cost_of(chosen)
    assert torch.equal(select(space, proportional(space, chosen), own), chosen)
    wider = select(space, proportional(space, chosen), {"macs": 1.5 * own["macs"]})
    factors = [float(wider[g.variables].sum() / chosen[g.variables].sum()) for g in space.groups]
    assert all(bool(wider[g.variables][chosen[g.variables]].all()) for g in space.groups)
    assert max(factors) / min(factors) < 1.1


def test_other_widths_are_measured_where_the_time_did_not_follow() -> None:
    base, example = network(), torch.rand(2, 3, 8, 8)
    space = dnal.Space.of(base, example)
    chosen = opened(space, 0.3)
    small = dnal.compact(base, dnal.Architecture.of(space, chosen)).eval()
    before, after = space.full_cost, space.cost_of(chosen)

    def measured(ms: float, divisor: int | str = 1, macs: float = after["macs"]) -> dict[str, object] | None:
        costs = ({"macs": before["macs"], "latency_ms": 1.0}, {"macs": macs, "latency_ms": ms})
        found = worth_of(base, small, chosen, space, Deployed(2, "torch-cpu"), example, costs, divisor)
        return None if found is None else found.document()

    slow = measured(0.9)
    assert slow is not None
    leaves = [path for path, module in base.named_modules() if not list(module.children())]
    assert list(slow["layers"]) == leaves
    assert all(ms > 0 for pair in slow["layers"].values() for ms in pair)
    tried = slow["tried"]
    assert [one["divisor"] for one in tried] in ([16], [16, "auto"])
    for one in tried:
        assert 0.8 * after["macs"] < one["macs"] <= after["macs"]
        assert one["speedup"] > 0
    for other in (measured(0.3), measured(0.9, 16), measured(0.9, "auto")):
        assert other is not None
        assert other["layers"]
        assert not other["tried"]
    assert measured(0.9, macs=0.99 * before["macs"]) is None


def test_modules_are_timed_within_the_whole_and_left_as_they_were() -> None:
    base, example = network(), torch.rand(1, 3, 8, 8)
    (times,) = layers_ms([base.train()], example, "torch-cpu")
    assert set(times) == {path for path, module in base.named_modules() if not list(module.children())}
    assert base.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in base.modules())
