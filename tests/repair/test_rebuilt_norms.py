"""Norms that lose channels say again what they said, as well as their scales and shifts can."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from dnal.repair.norms import rebuild_norms
from dnal.space.surgery.norms import open_norms
from independent import coin_flips, randomise

KINDS = {"layer norm": nn.LayerNorm, "rms norm": nn.RMSNorm}


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([3.0, 1.0, 0.3])  # of uneven directions, so that what leaves is missed
    return [(torch.randn(64, 3, generator=generator) * scales, torch.zeros(64, dtype=torch.long)) for _ in range(4)]


def built(kind: str) -> tuple[nn.Module, dnal.Space, Tensor]:
    torch.manual_seed(0)
    network = randomise(nn.Sequential(nn.Linear(3, 8), KINDS[kind](8), nn.Linear(8, 5)))
    space = dnal.Space.of(network, batches()[0][0][:2], norms="open")
    return network, space, coin_flips(space, 1).open


@pytest.mark.parametrize("kind", KINDS)
def test_each_channel_is_the_line_nearest_to_what_it_was(kind: str) -> None:
    network, space, is_open = built(kind)
    repaired = copy.deepcopy(network)
    rebuild_norms(repaired, open_norms(space.norms, is_open), batches())
    x = torch.cat([x for x, _ in batches()])
    stays = is_open[space.sources["1.weight"][0]].nonzero().squeeze(1)

    def without(own: nn.Module) -> Tensor:
        norm = own[1]
        inner = own[0](x)[:, stays]
        if isinstance(norm, nn.RMSNorm):
            return F.rms_norm(inner, (len(stays),), norm.weight[stays], norm.eps)
        return F.layer_norm(inner, (len(stays),), norm.weight[stays], norm.bias[stays], norm.eps)

    y, before, after = (
        network[1](network[0](x))[:, stays].double(),
        without(network).double(),
        without(repaired).double(),
    )
    for channel in range(len(stays)):
        columns = [before[:, channel]] + ([torch.ones(len(x)).double()] if kind == "layer norm" else [])
        line = torch.linalg.lstsq(torch.stack(columns, 1), y[:, channel : channel + 1]).solution
        torch.testing.assert_close(after[:, channel], (torch.stack(columns, 1) @ line).squeeze(1), atol=1e-4, rtol=1e-4)
    assert (after - y).square().sum() < 0.9 * (before - y).square().sum()
    assert torch.equal(repaired[0].weight, network[0].weight)


def test_a_rebuilt_network_is_nearer_with_its_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    network, space, is_open = built("layer norm")
    x = torch.cat([x for x, _ in batches()])
    architecture = dnal.Architecture.of(space, is_open)

    def apart() -> float:
        small = dnal.compact(dnal.repair.rebuilt(network, space, architecture, batches()), architecture)
        return float((small(x) - network(x)).detach().square().mean())

    own = apart()
    monkeypatch.setattr("dnal.repair.rebuild.rebuild_norms", lambda *_: None)
    assert own < 0.95 * apart()


def test_what_is_no_plain_norm_stays() -> None:
    class Added(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x

    torch.manual_seed(0)
    network = randomise(nn.Sequential(nn.Linear(3, 8), Added(8), nn.Linear(8, 5)))
    space = dnal.Space.of(network, batches()[0][0][:2], norms="open")
    repaired = copy.deepcopy(network)
    rebuild_norms(repaired, open_norms(space.norms, coin_flips(space, 1).open), batches())
    for one, other in zip(network.parameters(), repaired.parameters(), strict=True):
        assert torch.equal(one, other)
