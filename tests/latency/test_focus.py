"""Calibration at a bound, on a device that the layers' times alone do not explain."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from analytic import Analytic, plain
from torch import nn

import dnal
from dnal.latency import focused, profile
from dnal.latency.profiling import calibration_networks, runs_of
from dnal.latency.sample import largest, random_shares
from dnal.space.surgery.inputs import Inputs

pytestmark = pytest.mark.usefixtures("own_cache")


class Bent(Analytic):
    """Small networks take longer than the sum of their layers says; ``pace``: of the machine at the moment."""

    pace = 1.0

    def network(self, network: nn.Module, inputs: Inputs) -> Callable[[], float]:
        plainly = super().network(network, inputs)()
        return lambda: self.pace * plainly * (1 + 0.8 * math.exp(-plainly / 2))


def errors_at(bound: float, model: dnal.latency.LatencyModel, space: dnal.Space, network: nn.Module) -> list[float]:
    """Of networks at the bound that calibrated nothing: |predicted / known - 1|."""
    found = []
    for seed in range(5):
        o = largest(space, random_shares(space, seed), lambda o: model.predicted_ms(space, o) <= bound)
        known = runs_of(Bent(), network, space, [o], torch.zeros(1, 3, 8, 8))[0]()
        found.append(abs(model.predicted_ms(space, o) / known - 1))
    return found


@pytest.mark.parametrize("pace", [1.0, 1.3])
def test_a_model_is_right_at_the_bound(pace: float) -> None:
    network, space, example = plain()
    device = Bent()
    model = profile(network, space, example, backend=device)
    bound = 0.2 * model.base_ms
    device.pace = pace  # what the machine does meanwhile is not taken for what the networks are
    near = focused(model, network, space, example, [bound], backend=device)
    before, after = (max(errors_at(bound, own, space, network)) for own in (model, near))
    assert before > 0.05
    assert after < 0.6 * before
    assert near.base_ms == model.base_ms
    assert len(near.measured) > len(model.measured) == len(calibration_networks(space, 1))


def test_bounds_that_decide_nothing_change_nothing() -> None:
    network, space, example = plain()
    model = profile(network, space, example, backend=Analytic())
    for bound in (2 * model.base_ms, 0.01 * model.base_ms):
        assert focused(model, network, space, example, [bound], backend=Analytic()).measured == model.measured


def test_the_largest_network_that_fits() -> None:
    _, space, _ = plain()
    macs = space.costs["macs"]
    shares = random_shares(space, 7)
    whole = space.full_cost["macs"]
    sizes = [float(macs(largest(space, shares, lambda o, n=n: float(macs(o)) <= n * whole))) for n in (0.1, 0.4, 1.0)]  # type: ignore[misc]
    assert sizes[0] < sizes[1] < sizes[2] == whole
    for size, share in zip(sizes, (0.1, 0.4, 1.0), strict=True):
        assert 0.9 * share * whole < size <= share * whole
    narrowest = largest(space, shares, lambda o: False)
    assert [int(narrowest[group.variables].sum()) for group in space.groups] == [1] * len(space.groups)
