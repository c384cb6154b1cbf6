"""Decoders of transformers: how much of each family may leave, how exactly, and whether it still writes with a cache.

Every family from a small configuration with large random weights; nothing is downloaded. With norms fixed and open: the
variables, the residual branches, the share of the MACs in layers that can shrink, and half of each group removed, with
and without some branches (the first and every third one after it). difference: of the logits of the compact
network from those of the whole one with its gates at 0 or 1, at two batches and lengths, relative to the largest logit.
control: the same from another choice of channels, which must be another network. writes: whether the likeliest tokens
are the same with the cache of keys and values and without it, with padding in front of a text too.

pip install '.[hf]'
OMP_NUM_THREADS=1 python benchmarks/decoders.py
python benchmarks/decoders.py --only gemma --out try.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

import dnal
from result_file import append_rows, read_rows

FIELDS = (
    "family", "model", "norms", "variables", "branches", "removable_share", "params_left", "difference", "control",
    "writes", "torch", "transformers",
)  # fmt: skip
WORDS, NEW = 120, 12
"""Tokens there are, and that are written on."""
SIZES = ((2, 12), (3, 20))
"""Batches and lengths; the first of them is what the Space is found on."""
USUAL = {
    "vocab_size": WORDS, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = USUAL | {"num_key_value_heads": 2, "head_dim": 12}
SINGLE = GROUPED | {"num_key_value_heads": 1}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", GROUPED),
    "llama_tied": ("LlamaForCausalLM", GROUPED | {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2ForCausalLM", GROUPED),
    "qwen3": ("Qwen3ForCausalLM", GROUPED),
    "mistral": ("MistralForCausalLM", GROUPED | {"sliding_window": 8}),
    "gemma": ("GemmaForCausalLM", SINGLE),
    "gemma2": ("Gemma2ForCausalLM", GROUPED | {"sliding_window": 8}),
    "phi3": ("Phi3ForCausalLM", {k: v for k, v in GROUPED.items() if k != "head_dim"}),
    "gpt_neox": ("GPTNeoXForCausalLM", USUAL),
    "gpt2": (
        "GPT2LMHeadModel",
        {"vocab_size": WORDS, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1,
         "eos_token_id": 2},
    ),
    "opt": ("OPTForCausalLM", USUAL | {"ffn_dim": 96, "word_embed_proj_dim": 48}),
    # its cache holds states of its channels, which are answers: it is looked at without
    "mamba": (
        "MambaForCausalLM",
        {"vocab_size": WORDS, "hidden_size": 48, "num_hidden_layers": 2, "state_size": 8, "use_cache": False,
         "pad_token_id": 0},
    ),
}  # fmt: skip


def built(family: str) -> nn.Module:
    """A network in which every token makes a difference to the next, and no two channels are alike."""
    model, configuration = FAMILIES[family]
    torch.manual_seed(0)
    kind = getattr(transformers, model)
    network: nn.Module = kind(kind.config_class(**configuration)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(noise * parameter.size(-1) ** -0.5 if parameter.dim() > 1 else parameter + 0.2 * noise)
    return network


def tokens(batch: int, length: int) -> Tensor:
    return torch.randint(3, WORDS, (batch, length), generator=torch.Generator().manual_seed(batch))


def half(space: dnal.Space, seed: int, *, branches: bool) -> dnal.Architecture:
    """Half of each group by lot, one at least; with ``branches`` the first and every third one after it closed."""
    draw = torch.Generator().manual_seed(seed)
    is_open = torch.ones(space.num_gates, dtype=torch.bool)
    is_open[: space.num_variables] = torch.rand(space.num_variables, generator=draw) < 0.5
    for group in space.groups:
        is_open[group.variables[seed % group.width]] = True
    if branches:
        is_open[space.num_variables :: 3] = False
    return dnal.Architecture.of(space, is_open)


@torch.no_grad()
def logits(network: nn.Module) -> list[Tensor]:
    return [network(input_ids=tokens(*size), use_cache=False).logits for size in SIZES]


def apart(reference: list[Tensor], found: list[Tensor]) -> float:
    pairs = zip(reference, found, strict=True)
    return max(float((one - other).abs().max() / one.abs().max()) for one, other in pairs)


def writes(network: nn.Module) -> bool:
    """Whether it writes the same with and without its cache."""
    ids = tokens(*SIZES[0])
    masks = torch.ones_like(ids), torch.ones_like(ids)
    masks[1][0, :3] = 0
    how: dict[str, Any] = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    for mask in masks:
        one, other = (network.generate(ids, attention_mask=mask, use_cache=cache, **how) for cache in (True, False))
        if not torch.equal(one, other):
            return False
    return True


def row_of(family: str, norms: Any) -> dict[str, Any]:
    network = built(family)
    space = dnal.Space.of(network, {"input_ids": tokens(*SIZES[0])}, norms=norms, depth=True)
    differences, same, left = [], [], []
    for branches in (False, True) if space.num_branches else (False,):
        chosen = half(space, 1, branches=branches)
        small, reference = dnal.compact(network, chosen), logits(dnal.gated(network, chosen))
        differences.append(apart(reference, logits(small)))
        same.append(writes(small))
        left.append(sum(p.numel() for p in small.parameters()) / sum(p.numel() for p in network.parameters()))
        control = apart(reference, logits(dnal.gated(network, half(space, 2, branches=branches))))
    return {
        "family": family, "model": FAMILIES[family][0], "norms": norms, "variables": space.num_variables,
        "branches": space.num_branches, "removable_share": f"{space.removable_share:.3f}",
        "params_left": f"{left[0]:.3f}", "difference": f"{max(differences):.1e}", "control": f"{control:.1e}",
        "writes": "yes" if all(same) else "no", "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--only", nargs="+", default=list(FAMILIES), choices=tuple(FAMILIES))
    options = parser.parse_args()
    known = {(row["family"], row["norms"]) for row in read_rows(options.out)}
    for family in options.only:
        for norms in ("fixed", "open"):
            if (family, norms) not in known:
                (row,) = append_rows(options.out, FIELDS, [row_of(family, norms)])
                print(" ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    rows = read_rows(options.out)
    worst = max(float(row["difference"]) for row in rows)
    same = sum(row["writes"] == "yes" for row in rows)
    print(f"{len(rows)} rows, largest difference {worst:.1e}, writing the same with and without a cache: {same}")


if __name__ == "__main__":
    main()
