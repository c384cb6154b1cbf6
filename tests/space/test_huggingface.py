"""Text and image encoders of Hugging Face, from a configuration: nothing is downloaded."""

import pytest
import torch
from torch import Tensor, nn

import dnal
from independent import assert_exact, coin_flips, difference, randomise, run, zero_twin

transformers = pytest.importorskip("transformers")

LAYERS, HEADS, HIDDEN = 2, 4, 24
SHAPE = {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": HIDDEN, "hidden_size": 16}


def bert(attention: str) -> tuple[nn.Module, dict[str, Tensor]]:
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=20, attn_implementation=attention, **SHAPE)
    inputs = {"input_ids": torch.randint(0, 50, (2, 9)), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
    return transformers.BertModel(config), inputs


def vit(attention: str) -> tuple[nn.Module, dict[str, Tensor]]:
    config = transformers.ViTConfig(image_size=16, patch_size=8, attn_implementation=attention, **SHAPE)
    return transformers.ViTModel(config), {"pixel_values": torch.randn(2, 3, 16, 16)}


@pytest.mark.parametrize("make", [bert, vit])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_heads_and_hidden_widths_leave_exactly(make, attention: str) -> None:
    torch.manual_seed(0)
    network, inputs = make(attention)
    network = randomise(network).eval()
    space = dnal.Space.of(network, inputs)
    hidden = [g for g in space.groups if g.width == HIDDEN]
    heads = [g for g in space.groups if any(".query.weight" in n or ".q_proj.weight" in n for n, _ in g.places)]
    assert len(hidden) == len(heads) == LAYERS
    assert space.num_variables == LAYERS * (HEADS + HIDDEN)  # a head leaves as a whole
    for seed in range(2):
        architecture = coin_flips(space, seed)
        small = assert_exact(network, inputs, space, architecture)
    if make is bert:
        other = {"input_ids": torch.randint(0, 50, (3, 12)), "attention_mask": torch.ones(3, 12, dtype=torch.long)}
        assert difference(run(zero_twin(network, space, architecture.open), other), run(small, other)) <= 1e-4


def test_branches_of_bert_leave_exactly() -> None:
    """The sum of its branches is normalised, and computed in another module than they are."""
    torch.manual_seed(0)
    network, inputs = bert("sdpa")
    network = randomise(network).eval()
    space = dnal.Space.of(network, inputs, depth=True)
    assert [branch.name.split(".")[-1] for branch in space.branches] == ["self", "intermediate"] * LAYERS
    for seed in range(2):
        architecture = dnal.Architecture.random(space, 0.5, seed, branches=0.5)
        twin = zero_twin(network, space, architecture.open)
        for branch in space.branches:
            for name in branch.bypass.places if not architecture.open[branch.variable] else ():
                twin.get_parameter(name).data.zero_()
        small = dnal.compact(network, architecture)
        other = {"input_ids": torch.randint(0, 50, (3, 12)), "attention_mask": torch.ones(3, 12, dtype=torch.long)}
        for given in (inputs, other):
            assert difference(run(twin, given), run(small, given)) <= 1e-4
        assert sum(p.numel() for p in small.parameters()) == space.cost_of(architecture.open)["params"]
