import math
from typing import Any

import pytest
import torch
from torch import nn

import dnal
from dnal.selection.select import fits, least_costs, select
from dnal.selection.widths import WidthRule, channels_of_variable


@pytest.mark.parametrize(
    ("rule", "width", "channels", "allowed"),
    [
        (WidthRule(), 4, (1,), [1, 2, 3, 4]),
        (WidthRule(divisor=8), 12, (1,), [8, 12]),
        (WidthRule(divisor=8), 6, (1,), [6]),
        (WidthRule(divisor=8), 8, (1,), [8]),
        (WidthRule(divisor=8), 24, (1,), [8, 16, 24]),
        (WidthRule(min_width=3), 5, (1,), [3, 4, 5]),
        (WidthRule(min_width=30), 5, (1,), [5]),
        (WidthRule(min_width=0.5), 5, (1,), [3, 4, 5]),
        (WidthRule(min_width=9, divisor=8), 30, (1,), [16, 24, 30]),
        (WidthRule(divisor=8), 8, (4,), [2, 4, 6, 8]),
        (WidthRule(divisor=8), 16, (3,), [8, 16]),
        (WidthRule(divisor=8, min_width=20), 8, (4,), [6, 8]),
        (WidthRule(divisor=8), 20, (1, 2), [8, 16, 20]),
        (WidthRule(divisor=16, fewest=4), 64, (1,), [16, 32, 48, 64]),
        (WidthRule(divisor=16, fewest=4), 63, (1,), [8, 16, 24, 32, 40, 48, 56, 63]),
        (WidthRule(divisor=16, fewest=4), 16, (1,), [4, 8, 12, 16]),
        (WidthRule(divisor=16, fewest=4), 16, (4,), [4, 8, 12, 16]),
        (WidthRule(divisor=16, fewest=4), 3, (1,), [1, 2, 3]),
        (WidthRule(min_width=0.3, divisor=16, fewest=4), 64, (1,), [32, 48, 64]),
    ],
)
def test_allowed_counts_by_hand(rule: WidthRule, width: int, channels: tuple[int, ...], allowed: list[int]) -> None:
    assert rule.allowed(width, channels) == allowed


@pytest.mark.parametrize("multiple", [1, 3, 4, 6, 8])
@pytest.mark.parametrize("least", [1, 5, 0.25])
def test_allowed_counts_against_the_definition(multiple: int, least: float) -> None:
    for width in range(2, 40):
        for each in (1, 2, 3, 4):
            least_channels = least if least >= 1 else least * width * each
            expected = [
                n for n in range(1, width + 1)
                if n == width or (n * each % multiple == 0 and n * each >= least_channels)
            ]  # fmt: skip
            assert WidthRule(least, multiple).allowed(width, [each]) == expected


@pytest.mark.parametrize(
    "bad",
    [
        *({"min_width": bad} for bad in (0, -1, 2.5, math.nan, math.inf, True)),
        *({"divisor": bad} for bad in (0, 1.5, -8, math.inf, True)),
        *({"fewest": bad} for bad in (0, 1.5, -8, math.inf, True)),
    ],
)  # fmt: skip
def test_nonsense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(dnal.UserError, match=r"^(min_width|divisor|fewest) is a whole number"):
        WidthRule(**bad)


def test_every_group_has_several_widths_that_processors_like() -> None:
    rule: WidthRule | None = WidthRule.liked()
    rules = []
    while rule is not None:
        rules.append(rule)
        rule = rule.finer
    assert [rule.divisor for rule in rules] == [16, 8, 4, 2, 1]
    for rule in rules:
        for width in range(1, 200):
            counts = rule.allowed(width)
            assert len(counts) >= min(4, width)
            step = counts[0]
            assert rule.divisor % step == 0
            assert step == rule.divisor or width < 4 * 2 * step, "no finer than it has to be"
            assert all(count % step == 0 for count in counts[:-1])
    assert WidthRule(divisor=8).finer is None, "what was asked for stays"


class Split(nn.Module):
    """Both halves of a convolution's channels are multiplied: a variable stands for a channel of each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 48, 1), nn.Conv2d(24, 40, 1), nn.Conv2d(40, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.first(x).chunk(2, dim=1)
        out: torch.Tensor = self.last(self.second(left * right.sigmoid()).relu())
        return out


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, groups=4), nn.ReLU(), nn.Conv2d(32, 20, 1),
        nn.ReLU(), nn.Conv2d(20, 2, 1),
    )  # fmt: skip


@pytest.mark.parametrize(("make", "stands_for"), [(Split, [1, 2]), (grouped, [1, 4, 4])])
@pytest.mark.parametrize("multiple", [4, 8])
def test_multiples_count_the_channels_of_the_compact_network(make: Any, stands_for: list[int], multiple: int) -> None:
    network, example = make(), torch.zeros(2, 3, 6, 6)
    space = dnal.Space.of(network, example)
    assert sorted(n for g in space.groups for n in channels_of_variable(space, g)) == stands_for
    full = {name: layer.out_channels for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}
    for seed in range(4):
        scores = torch.rand(space.num_gates, generator=torch.Generator().manual_seed(seed))
        for share in (0.4, 0.7):
            chosen = select(space, scores, {"macs": share * space.full_cost["macs"]}, WidthRule(divisor=multiple))
            small = dnal.compact(network, dnal.Architecture.of(space, chosen))
            for name, width in full.items():
                left = small.get_submodule(name).out_channels  # type: ignore[union-attr]
                assert left == width or left % multiple == 0


def test_the_least_width_is_kept(space: dnal.Space) -> None:
    for least in (4, 0.5):
        widths = WidthRule(min_width=least)
        cheapest = least_costs(space, widths)
        chosen = select(space, torch.rand(space.num_gates), {"macs": cheapest["macs"]}, widths)
        counts = [int(chosen[g.variables].sum()) for g in space.groups]
        assert counts == [math.ceil(least * g.width) if least < 1 else least for g in space.groups]
        assert space.cost_of(chosen) == cheapest


@pytest.mark.parametrize("multiple", [2, 3, 4])
def test_least_costs_under_a_multiple_are_those_of_the_narrowest_choice(space: dnal.Space, multiple: int) -> None:
    widths = WidthRule(divisor=multiple)
    cheapest = least_costs(space, widths)
    limits = {"macs": cheapest["macs"]}
    assert fits(space.costs, limits, select(space, torch.rand(space.num_gates), limits, widths))
    by_hand = 1.0
    for group in space.groups:
        by_hand *= min(n for n in range(multiple, group.width + 1) if n % multiple == 0 or n == group.width)
    assert by_hand <= cheapest["macs"]
