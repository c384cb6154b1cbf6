"""Mixtures of experts whose weights are one parameter: all experts lose the same hidden channels."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from independent import assert_exact, coin_flips, randomise

EXPERTS, HIDDEN, STREAM, TOKENS = 3, 32, 16, 9


class Experts(nn.Module):
    """Every row goes through one expert, in one grouped product."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, STREAM), nn.Linear(STREAM, 4)
        self.up = nn.Parameter(torch.randn(EXPERTS, STREAM, HIDDEN) / 4)
        self.down = nn.Parameter(torch.randn(EXPERTS, STREAM, HIDDEN) / 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).flatten(0, 1)
        ends = torch.tensor([0.2, 0.5, 1.0], device=x.device).mul(len(x)).ceil().int()
        x = x + F.grouped_mm(F.gelu(F.grouped_mm(x, self.up, offs=ends)), self.down.transpose(1, 2), offs=ends)
        return self.last(x)

    def macs(self) -> float:
        return TOKENS * ((5 + 4) * self.first.out_features + (self.up.numel() + self.down.numel()) / EXPERTS)


@pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="this torch has no grouped product")
def test_a_grouped_product() -> None:
    torch.manual_seed(0)
    network = randomise(Experts()).eval()
    inputs = torch.randn(2, TOKENS, 5)
    space = dnal.Space.of(network, inputs)
    assert [group.width for group in space.groups] == [STREAM // 8, HIDDEN // 8]  # by the eight: 16 bytes in half
    assert not space.unknown
    for seed in range(3):
        small: Any = assert_exact(network, inputs, space, coin_flips(space, seed), lambda n: n.macs())
        assert small.up.size(0) == EXPERTS
        small.to(torch.bfloat16)(inputs.bfloat16())  # the kernel refuses rows that are not aligned


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
def test_mixtral(implementation: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=4, num_local_experts=3, num_experts_per_tok=2, use_cache=False,
    )  # fmt: skip
    network = transformers.MixtralForCausalLM(config)
    network.set_experts_implementation(implementation)
    network = randomise(network).eval()
    inputs = {"input_ids": torch.randint(0, 64, (2, TOKENS))}
    space = dnal.Space.of(network, inputs)
    hidden = [group for group in space.groups if "experts" in group.name]
    assert [group.width for group in hidden] == [48 if implementation != "grouped_mm" else 48 // 8]
    assert not space.uncounted
    for seed in range(2):
        architecture = coin_flips(space, seed)
        small = assert_exact(network, inputs, space, architecture, lambda n: dnal.macs(n, inputs))
        left = small.model.layers[0].mlp.experts.down_proj.size(2)  # type: ignore[union-attr, operator, index]
        closed = space.cost_of(torch.ones(space.num_gates))["macs"] - space.cost_of(architecture.open)["macs"]
        own = TOKENS * 2 * 3 * 32 * (48 - left)  # two experts a token, three matrices
        assert closed >= own
        assert closed == own or len(space.groups) > 1
