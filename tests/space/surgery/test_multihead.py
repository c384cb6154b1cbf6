"""The attention that may lose heads: with all of them it computes what torch's own does, by the same operations."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dnal.space.surgery.multihead import _adapted

HEADS, WIDTH, BATCH, QUERIES, KEYS = 4, 16, 3, 5, 6


@pytest.fixture(autouse=True)
def no_fused_kernel() -> Iterator[None]:
    """torch's one operation for everything, which a trace does without too."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


class Names(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__.removeprefix("_unsafe_"))  # versions differ in which view it is
        return func(*args, **(kwargs or {}))


def given(kind: str, batched: bool, batch_first: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values that are the same tensor, two, three, or of widths of their own."""

    def tokens(length: int, width: int = WIDTH) -> Tensor:
        if not batched:
            return torch.randn(length, width)
        return torch.randn(BATCH, length, width) if batch_first else torch.randn(length, BATCH, width)

    query, key = tokens(QUERIES), tokens(KEYS)
    if kind == "own":
        return query, query, query
    if kind == "other":
        return query, key, key
    return (query, key, tokens(KEYS)) if kind == "three" else (query, tokens(KEYS, 6), tokens(KEYS, 7))


def masks(name: str, keys: int, batched: bool) -> dict[str, Tensor]:
    batch = BATCH if batched else 1
    attention = {
        "bool": torch.rand(QUERIES, keys) < 0.3,
        "float": torch.randn(QUERIES, keys),
        "heads": torch.randn(batch * HEADS, QUERIES, keys),
    }
    padding = {"bool": torch.rand(batch, keys) < 0.3, "float": torch.randn(batch, keys)}
    for mask in (attention["bool"], padding["bool"]):
        mask[:, 0] = False  # where everything is hidden the softmax has no value
    first, _, second = name.partition("+")
    found = {"attn_mask": attention[first]} if first else {}
    if second:
        found["key_padding_mask"] = padding[second] if batched else padding[second][0]
    return found


@pytest.mark.parametrize("mask", ["", "bool", "float", "heads", "+bool", "+float", "bool+bool", "float+float"])
@pytest.mark.parametrize("kind", ["own", "other", "three", "widths"])
def test_it_computes_what_torch_computes(kind: str, mask: str) -> None:
    torch.manual_seed(0)
    for batch_first, batched, weights, average, bias in itertools.product((True, False), repeat=5):
        widths = {"kdim": 6, "vdim": 7} if kind == "widths" else {}
        whole = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first, bias=bias, **widths).eval()
        twin = copy.deepcopy(whole)
        twin.__class__ = _adapted(type(twin))
        tokens = given(kind, batched, batch_first)
        options: dict[str, Any] = masks(mask, QUERIES if kind == "own" else KEYS, batched)
        options |= {"need_weights": weights, "average_attn_weights": average}
        with torch.no_grad(), Names() as expected:
            reference, reference_weights = whole(*tokens, **options)
        with torch.no_grad(), Names() as found:
            result, result_weights = twin(*tokens, **options)
        torch.testing.assert_close(result, reference)
        assert (result_weights is None) == (reference_weights is None)
        if weights:
            torch.testing.assert_close(result_weights, reference_weights)
        if not mask:
            assert found.names == expected.names
