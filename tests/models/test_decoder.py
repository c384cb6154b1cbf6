"""The decoder of the house: the network that transformers calls LLaMA, found whole, and learnt on text."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import dnal
from dnal.models.decoder import BASE, EPS, HEAD, HIDDEN, KEYS, LAYERS, QUERIES, WIDTH
from independent import assert_exact, coin_flips, difference, randomise, run

TOKENS = 257


def texts(batch: int = 2, length: int = 12) -> dict[str, Tensor]:
    ids = torch.randint(TOKENS, (batch, length), generator=torch.Generator().manual_seed(batch))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_it_is_a_llama_with_tied_tables() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    network = randomise(dnal.models.create("decoder/small")).eval()
    config = transformers.LlamaConfig(
        vocab_size=TOKENS, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=QUERIES, head_dim=HEAD,
        num_key_value_heads=KEYS, intermediate_size=HIDDEN, rms_norm_eps=EPS, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": BASE},
    )  # fmt: skip
    other = transformers.LlamaForCausalLM(config).eval()
    names = {
        "tokens": "embed_tokens", "norm1": "input_layernorm", "norm2": "post_attention_layernorm",
        "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj", "attention": "self_attn", "q": "q_proj",
        "k": "k_proj", "v": "v_proj", "out": "o_proj",
    }  # fmt: skip
    state = {
        ".".join(["model", *(names.get(part, part) for part in name.split("."))]): tensor
        for name, tensor in network.state_dict().items()
    }
    left = other.load_state_dict(state, strict=False)
    assert (left.missing_keys, left.unexpected_keys) == (["lm_head.weight"], [])  # which is tied
    given = texts()
    with torch.no_grad():
        assert difference([other(given["input_ids"]).logits.mT], [network(**given)]) <= 1e-5


def test_no_place_looks_at_what_comes_later() -> None:
    network, given = dnal.models.create("decoder/small").eval(), texts()
    changed = {name: tensor.clone() for name, tensor in given.items()}
    changed["input_ids"][:, 7:] = 5
    with torch.no_grad():
        one, other = network(**given), network(**changed)
    assert torch.equal(one[..., :7], other[..., :7])
    assert not torch.equal(one[..., 7:], other[..., 7:])


def test_heads_hidden_channels_and_the_stream_leave() -> None:
    torch.manual_seed(0)
    network, given = randomise(dnal.models.create("decoder/small")).eval(), texts()
    fixed = dnal.Space.of(network, given)
    assert fixed.num_variables == LAYERS * (KEYS + HIDDEN)
    assert_exact(network, given, fixed, coin_flips(fixed, 0))
    space = dnal.Space.of(network, given, norms="open", depth=True)
    assert (space.num_variables, space.num_branches) == (fixed.num_variables + WIDTH, 2 * LAYERS)
    assert not space.unknown
    architecture = dnal.Architecture.random(space, 0.5, 1, branches=0.75)
    small = dnal.compact(network, architecture)
    for other in (given, texts(3, 20)):
        assert difference(run(dnal.gated(network, architecture), other), run(small, other)) <= 1e-4
    assert sum(p.numel() for p in small.parameters()) == space.cost_of(architecture.open)["params"]


def test_other_classes_than_tokens_have_a_table_of_their_own() -> None:
    network = dnal.models.create("decoder/small", classes=3).eval()
    assert network(**texts()).shape == (2, 3, 12)
    assert network.head.weight.shape == (3, WIDTH)
