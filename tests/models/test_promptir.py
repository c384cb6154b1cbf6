"""PromptIR: its size against what is published of it, its attention against one written out, and that it takes any
image whose sides fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import dnal
from dnal.methods.sparsity.masks import maskable
from dnal.models import create
from dnal.models.restoration.promptir import PromptBlock
from dnal.models.restoration.restormer import Block, ChannelAttention
from dnal.train.setup.reinitialize import reset

TINY = "restoration/promptir-tiny"
UNUSED = 64 * 64 + 128 * 128 + 320 * 256 + (48 + 64) * 48 + (96 + 128) * 96 + (192 + 256) * 192
"""Weights of 1x1 convolutions that the published code makes and never calls, as recalled; ours has none of them."""


def of_block(channels: int, heads: int) -> int:
    """Parameters: two norms; a temperature a head, 1x1, depthwise 3x3 and 1x1; 1x1, depthwise 3x3 and 1x1, gated."""
    hidden = int(2.66 * channels)
    attention = heads + 3 * channels * channels + 9 * 3 * channels + channels * channels
    return 4 * channels + attention + 2 * channels * hidden + 9 * 2 * hidden + hidden * channels


def of_prompt(channels: int, components: int, side: int, read: int) -> int:
    return components * channels * side * side + components * (read + 1) + 9 * channels * channels


def test_the_full_network_is_as_large_as_published() -> None:
    with torch.device("meta"):
        network = create("restoration/promptir")
    blocks = [(48, 1, 4), (96, 2, 6), (192, 4, 6), (384, 8, 8)]  # the encoder, and below it
    blocks += [(384 + 320, 4, 1), (192 + 128, 4, 1), (96 + 64, 4, 1)]  # behind the prompts
    blocks += [(192, 4, 6), (96, 2, 6), (96, 1, 4), (96, 1, 4)]  # the decoder, and the refinement
    expected = sum(count * of_block(channels, heads) for channels, heads, count in blocks)
    prompts = [(320, 5, 16, 384), (128, 5, 32, 192), (64, 5, 64, 96)]
    expected += sum(of_prompt(*prompt) for prompt in prompts)
    expected += (384 + 320) * 192 + (192 + 128) * 192 + (96 + 64) * 96  # fewer channels behind the prompts
    expected += 9 * (48 * 24 + 96 * 48 + 192 * 96)  # halved
    expected += 9 * (192 * 384 + 192 * 384 + 96 * 192)  # doubled
    expected += (96 + 192) * 192 + (96 + 96) * 96 + 2 * 9 * 3 * 48 + 9 * 3 * 48  # skips; first and last layer
    found = sum(parameter.numel() for parameter in network.parameters())
    assert found == expected
    assert f"{(found + UNUSED) / 1e6:.2f}" == "35.59", "millions, as the authors say of theirs; recalled"
    sizes = {tuple(m.components.shape): m.weigh.in_features for m in network.modules() if isinstance(m, PromptBlock)}
    assert sizes == {(5, channels, side, side): read for channels, _, side, read in prompts}
    assert sum(isinstance(module, Block) for module in network.modules()) == sum(count for *_, count in blocks)


def test_attention_is_between_the_channels_of_a_head() -> None:
    torch.manual_seed(0)
    layer = ChannelAttention(6, 2)
    nn.init.uniform_(layer.temperature, 0.5, 2)
    x = torch.randn(2, 6, 3, 4)
    found = layer(x)
    expected = torch.zeros(2, 6, 12)
    made = layer.local(layer.into(x)).flatten(2)
    for n in range(2):
        for head in range(2):
            own = range(3 * head, 3 * head + 3)
            for i in own:
                q = made[n, i] / made[n, i].norm()
                scores = torch.stack(
                    [layer.temperature[head] * (q @ made[n, 6 + j]) / made[n, 6 + j].norm() for j in own]
                )
                weights = scores.exp() / scores.exp().sum()
                expected[n, i] = sum(w * made[n, 12 + j] for w, j in zip(weights, own, strict=True))
    assert torch.allclose(found, layer.out(expected.view(2, 6, 3, 4)), atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), [(TINY, (1, 20, 12)), (TINY, (3, 32, 32)),
                                             ("restoration/promptir-small", (3, 16, 24))])  # fmt: skip
def test_an_image_comes_back_in_its_size(name: str, shape: tuple[int, int, int]) -> None:
    network = create(name, classes=shape[0], input_shape=shape)
    images = torch.rand(2, *shape)
    nn.init.zeros_(network.get_parameter("out.weight"))
    assert torch.equal(network(images), images), "what it makes is added to the image"


def test_prompts_and_scales_are_no_weights_to_mask_and_are_drawn_again() -> None:
    network = create(TINY)
    masks = maskable(network, dnal.Space.of(network, torch.rand(1, 3, 16, 16)))
    left = dict(network.named_parameters()).keys() - masks.keys()
    assert {name.rpartition(".")[2] for name in left if "norm" not in name and "bias" not in name} == {
        "components", "temperature",
    }  # fmt: skip
    assert all(mask.dim() in (2, 4) for mask in masks.values())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    reset(network, 7)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed >= masks.keys() | {name for name in left if name.endswith("components")}
