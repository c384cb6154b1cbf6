"""Decoders of transformers for language, from small configurations: what may leave, and how they write without it.
LLaMA is held to a network written out here, which indexes what stays and knows nothing of the package."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from normed import Llama
from torch import Tensor, nn

import dnal
from independent import difference, parameter_count, randomise, run

transformers = pytest.importorskip("transformers")

LAYERS, WORDS, STREAM, HIDDEN, QUERIES, KEYS, WIDTH = 3, 40, 16, 20, 4, 2, 6
TOLERANCE = 1e-4
USUAL = {
    "vocab_size": WORDS, "hidden_size": STREAM, "num_hidden_layers": LAYERS, "num_attention_heads": QUERIES,
    "intermediate_size": HIDDEN, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = USUAL | {"num_key_value_heads": KEYS, "head_dim": WIDTH}
FAMILIES: dict[str, tuple[str, dict[str, Any], int, int]] = {
    # the class, its configuration, what leaves of attention in each layer, and its hidden channels
    "llama": ("LlamaForCausalLM", GROUPED | {"tie_word_embeddings": True}, KEYS, HIDDEN),
    "qwen2": ("Qwen2ForCausalLM", GROUPED, KEYS, HIDDEN),
    "qwen3": ("Qwen3ForCausalLM", GROUPED, KEYS, HIDDEN),
    "mistral": ("MistralForCausalLM", GROUPED | {"sliding_window": 4, "num_key_value_heads": 1}, QUERIES, HIDDEN),
    "gemma": ("GemmaForCausalLM", GROUPED | {"num_key_value_heads": 1}, QUERIES, HIDDEN),
    "gemma2": ("Gemma2ForCausalLM", GROUPED | {"sliding_window": 4}, KEYS, HIDDEN),
    "gpt2": (
        "GPT2LMHeadModel",
        {"vocab_size": WORDS, "n_embd": STREAM, "n_layer": LAYERS, "n_head": QUERIES, "n_inner": HIDDEN,
         "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2},
        QUERIES,
        HIDDEN,
    ),
    "opt": ("OPTForCausalLM", USUAL | {"ffn_dim": HIDDEN, "word_embed_proj_dim": STREAM}, QUERIES, HIDDEN),
}  # fmt: skip
FAST = ("llama", "mistral")
CHOSEN = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in FAMILIES]


def built(name: str, **others: Any) -> nn.Module:
    """A network with large weights, whose every token makes a difference to the next."""
    torch.manual_seed(0)
    kind, configuration = FAMILIES[name][:2]
    cls = getattr(transformers, kind)
    network: nn.Module = randomise(cls(cls.config_class(**configuration | others))).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter.size(-1) ** -0.5)
    return network


def tokens(batch: int = 2, length: int = 9) -> Tensor:
    return torch.randint(3, WORDS, (batch, length), generator=torch.Generator().manual_seed(batch))


def half(space: dnal.Space, seed: int = 0, closed: tuple[str, ...] = ()) -> dnal.Architecture:
    """Half of each group by lot, and one at least; of the branches all but those that hold ``closed`` in their
    names."""
    draw = torch.Generator().manual_seed(seed)
    is_open = torch.ones(space.num_gates, dtype=torch.bool)
    is_open[: space.num_variables] = torch.rand(space.num_variables, generator=draw) < 0.5
    for group in space.groups:
        is_open[group.variables[seed % group.width]] = True
    for branch in space.branches:
        is_open[branch.variable] = not any(part in branch.name for part in closed)
    return dnal.Architecture.of(space, is_open)


def staying(space: dnal.Space, architecture: dnal.Architecture, name: str, dim: int, width: int = 1) -> list[int]:
    """Which indices of a dimension stay, in blocks of ``width``."""
    ids = space.sources[name][dim]
    assert ids is not None
    stays = ((ids < 0) | architecture.open[ids.clamp(min=0)]).view(-1, width)
    assert bool((stays == stays[:, :1]).all())
    return stays[:, 0].nonzero().flatten().tolist()


def by_hand(
    network: nn.Module, ids: Tensor, stream: list[int], heads: list[list[int]], hidden: list[list[int]]
) -> Tensor:
    """LLaMA with tied embeddings, of these channels of the stream, heads of keys in each layer with all their queries,
    and hidden channels alone."""
    w = {name: p.detach() for name, p in network.named_parameters()}
    length = ids.size(1)
    turns = torch.arange(length)[:, None] * 10000 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
    cos, sin = (torch.cat([f(turns)] * 2, 1) for f in (torch.cos, torch.sin))

    def normed(x: Tensor, name: str) -> Tensor:
        return x / (x.square().sum(-1, keepdim=True) / len(stream) + 1e-6).sqrt() * w[name][stream]

    def turned(x: Tensor) -> Tensor:
        return x * cos + torch.cat([-x[..., WIDTH // 2 :], x[..., : WIDTH // 2]], -1) * sin

    x = w["model.embed_tokens.weight"][ids][..., stream]
    for layer in range(LAYERS):
        here = f"model.layers.{layer}"
        y, add = normed(x, f"{here}.input_layernorm.weight"), torch.zeros_like(x)
        for key in heads[layer]:
            rows = slice(key * WIDTH, (key + 1) * WIDTH)
            k, v = (y @ w[f"{here}.self_attn.{n}_proj.weight"][rows][:, stream].T for n in "kv")
            for query in range(key * QUERIES // KEYS, (key + 1) * QUERIES // KEYS):
                own = slice(query * WIDTH, (query + 1) * WIDTH)
                q = y @ w[f"{here}.self_attn.q_proj.weight"][own][:, stream].T
                scores = turned(q) @ turned(k).mT / WIDTH**0.5
                seen = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf).softmax(-1)
                add = add + seen @ v @ w[f"{here}.self_attn.o_proj.weight"][stream][:, own].T
        x = x + add
        y, own = normed(x, f"{here}.post_attention_layernorm.weight"), hidden[layer]
        gate, up = (y @ w[f"{here}.mlp.{n}_proj.weight"][own][:, stream].T for n in ("gate", "up"))
        x = x + (F.silu(gate) * up) @ w[f"{here}.mlp.down_proj.weight"][stream][:, own].T
    return normed(x, "model.norm.weight") @ w["model.embed_tokens.weight"][:, stream].T


@pytest.mark.parametrize("norms", ["open", "fixed"])
def test_a_small_llama_is_what_is_written_out(norms: Any) -> None:
    network, ids = built("llama"), tokens()
    space = dnal.Space.of(network, {"input_ids": ids}, norms=norms)
    assert space.num_variables == LAYERS * (KEYS + HIDDEN) + (STREAM if norms == "open" else 0)
    layer = STREAM * WIDTH * (2 * QUERIES + 2 * KEYS) + 3 * STREAM * HIDDEN + 2 * STREAM
    assert space.full_cost["params"] == parameter_count(network) == WORDS * STREAM + LAYERS * layer + STREAM
    assert not space.unknown
    assert not space.helped
    for seed in range(2):
        architecture = half(space, seed)
        small = dnal.compact(network, architecture)
        stream = staying(space, architecture, "model.norm.weight", 0) if norms == "open" else list(range(STREAM))
        of = [f"model.layers.{n}" for n in range(LAYERS)]
        heads = [staying(space, architecture, f"{one}.self_attn.k_proj.weight", 0, WIDTH) for one in of]
        queries = [staying(space, architecture, f"{one}.self_attn.q_proj.weight", 0, WIDTH) for one in of]
        assert queries == [[q for k in kept for q in (2 * k, 2 * k + 1)] for kept in heads]  # with their keys
        hidden = [staying(space, architecture, f"{one}.mlp.up_proj.weight", 0) for one in of]
        for given in (ids, tokens(3, 14)):
            want = by_hand(network, given, stream, heads, hidden)
            for one in (small, dnal.gated(network, architecture)):
                with torch.no_grad():
                    got = one(input_ids=given).logits
                assert float((got - want).abs().max() / want.abs().max()) <= TOLERANCE
        assert small.lm_head.weight is small.model.embed_tokens.weight
        assert small.lm_head.weight.shape == (WORDS, len(stream))
        assert parameter_count(small) == space.cost_of(architecture.open)["params"]


def written(network: nn.Module, ids: Tensor, mask: Tensor, *, cache: bool) -> list[list[int]]:
    """What the network writes on, always the likeliest token."""
    found = network.generate(
        ids, attention_mask=mask, use_cache=cache, max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=None
    )
    return found.tolist()  # type: ignore[no-any-return]


def stepwise(network: nn.Module, ids: Tensor, first: int) -> Tensor:
    """The logits of a text of which ``first`` tokens are read at once and the others one by one."""
    memory: dict[str, Any] = {}
    found = []
    with torch.no_grad():
        for part in (ids[:, :first], *ids[:, first:].split(1, 1)):
            answer = network(input_ids=part, use_cache=True, **memory)
            name = "cache" if "cache" in answer else "past_key_values"  # as it is called from transformers 5.24 on
            memory = {name: answer[name]}
            found.append(answer.logits)
    return torch.cat(found, 1)


@pytest.mark.parametrize("name", CHOSEN)
def test_decoders_write_the_same_with_and_without_a_cache(name: str) -> None:
    _, _, heads, hidden = FAMILIES[name]
    network, ids = built(name), tokens()
    space = dnal.Space.of(network, {"input_ids": ids}, norms="open", depth=True)
    assert space.num_variables == LAYERS * (heads + hidden) + STREAM
    assert sum("attn" in branch.name for branch in space.branches) == space.num_branches - LAYERS == LAYERS
    mask = torch.ones_like(ids)
    padded = mask.clone()
    padded[0, :3] = 0
    texts = []
    for seed, closed in enumerate([(), (".0.",), (".1.", "2.self_attn", "2.attn")]):  # whole layers leave too
        architecture = half(space, seed, closed)
        small = dnal.compact(network, architecture)
        given = {"input_ids": ids, "use_cache": False}
        gated = run(dnal.gated(network, architecture), given)
        whole = run(small, given)
        assert difference(gated, whole) <= TOLERANCE
        assert difference(whole, [stepwise(small, ids, 3)]) <= TOLERANCE
        for seen in (mask, padded):
            one = written(small, ids, seen, cache=True)
            assert one == written(small, ids, seen, cache=False)
            texts += one
    assert len({word for text in texts for word in text[ids.size(1) :]}) > 4


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_any_number_of_queries_share_a_single_head_of_keys(attention: str) -> None:
    """torch's fused attention repeats the head itself, unless it is given a mask."""
    network, ids = built("gemma", attn_implementation=attention), tokens()
    space = dnal.Space.of(network, {"input_ids": ids})
    is_open = torch.ones(space.num_variables, dtype=torch.bool)
    groups = [group for group in space.groups if any("q_proj" in name for name, _ in group.places)]
    for number, group in enumerate(groups):
        is_open[group.variables[: number + 1]] = False
    small = dnal.compact(network, dnal.Architecture.of(space, is_open))
    assert [layer.self_attn.num_key_value_groups for layer in small.model.layers] == [3, 2, 1]
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    with torch.no_grad():
        expected = dnal.gated(network, dnal.Architecture.of(space, is_open))(input_ids=ids, attention_mask=mask).logits
        found = small(input_ids=ids, attention_mask=mask).logits
    assert float((found - expected)[mask == 1].abs().max() / expected.abs().max()) <= TOLERANCE


@pytest.mark.slow
def test_what_else_a_network_keeps_for_its_next_call_stays() -> None:
    """Nothing but attention says that it has read all that it keeps."""
    torch.manual_seed(0)
    shape = {"vocab_size": WORDS, "hidden_size": STREAM, "num_hidden_layers": 2, "state_size": 5, "expand": 2}
    found = {}
    for cache in (True, False):
        network = transformers.MambaForCausalLM(transformers.MambaConfig(use_cache=cache, pad_token_id=0, **shape))
        network = randomise(network).eval()
        space = dnal.Space.of(network, {"input_ids": tokens()}, norms="open")
        found[cache] = space.num_variables
    assert found == {True: STREAM, False: STREAM + 2 * (2 * STREAM + 5)}
    small = dnal.compact(network, half(space))
    mask = torch.ones_like(tokens())
    assert written(small, tokens(), mask, cache=True) == written(small, tokens(), mask, cache=False)


def test_a_result_that_nobody_uses_ends_no_branch() -> None:
    class Remembering(Llama):
        """It keeps the end of what its MLP has made, as code does for a next call."""

        def forward(self, x: Tensor) -> Tensor:
            x = self.words(x)
            y = self.norm1(x)
            hidden = F.silu(self.gate(y)) * self.up(y)
            self.__dict__["last"] = hidden[:, -1:]
            return F.linear(self.norm(x + self.down(hidden)), self.words.weight)

    ids = torch.randint(0, 11, (2, 6), generator=torch.Generator().manual_seed(1))
    space = dnal.Space.of(randomise(Remembering()).eval(), ids, depth=True)
    assert space.num_branches == 1
