"""PromptIR: one network for several degradations, whose decoder asks learnt prompts which of them it sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnal.models.registry import register
from dnal.models.restoration.restormer import Block, blocks, doubled, halved


class Prompt(NamedTuple):
    """The prompt of a level.

    Attributes:
        channels: of its components. components: how many there are. side: their height and width.
    """

    channels: int
    components: int
    side: int


class PromptBlock(nn.Module):
    """A prompt for the features (N, C, H, W) of a level: (N, channels, H, W).

    The components are weighed by the softmax of a linear function of the features' mean over all pixels, added, brought
    to the features' size, and convolved. Source: Potlapalli et al., "PromptIR" (arXiv 2306.13090), section 3.
    """

    def __init__(self, prompt: Prompt, channels: int) -> None:
        super().__init__()
        self.components = nn.Parameter(torch.empty(prompt.components, prompt.channels, prompt.side, prompt.side))
        self.weigh = nn.Linear(channels, prompt.components)
        self.out = nn.Conv2d(prompt.channels, prompt.channels, 3, padding=1, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.components)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weigh(x.mean((2, 3))).softmax(dim=1)
        prompt = torch.einsum("nk,kchw->nchw", weights, self.components)
        return self.out(  # type: ignore[no-any-return]
            F.interpolate(prompt, size=x.shape[-2:], mode="bilinear", align_corners=False)
        )


class Prompted(nn.Module):
    """A prompt beside the features, a block over both, and fewer channels again."""

    def __init__(self, prompt: Prompt, channels: int, heads: int, left: int) -> None:
        super().__init__()
        self.prompt = PromptBlock(prompt, channels)
        self.block = Block(channels + prompt.channels, heads)
        self.reduce = nn.Conv2d(channels + prompt.channels, left, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(self.block(torch.cat((x, self.prompt(x)), 1)))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """A level of the decoder: a prompt, twice the size, the encoder's features of that size beside it, blocks."""

    def __init__(self, prompted: Prompted, left: int, skipped: int, channels: int, heads: int, count: int) -> None:
        super().__init__()
        self.prompted = prompted
        self.up = doubled(left)
        joined = left // 2 + skipped
        self.reduce = nn.Conv2d(joined, channels, 1, bias=False) if joined != channels else nn.Identity()
        self.blocks = blocks(channels, heads, count)

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        joined = torch.cat((self.up(self.prompted(x)), skipped), 1)
        return self.blocks(self.reduce(joined))  # type: ignore[no-any-return]


class PromptIR(nn.Module):
    """An encoder and a decoder of Restormer's blocks, with a prompt at each level of the decoder; what they make is
    added to the image: (N, C, H, W) -> (N, C, H, W), whose sides are multiples of 2^(levels - 1).

    The finest level of the decoder, and what refines it, have twice the channels of the encoder's, and the deepest
    prompt halves the channels, as in the published code.

    Args:
        channels: of the images. width: channels of the finest level; each further one has twice as many.
        depths: blocks of each level, the finest first. heads: of attention at each level. refinement: blocks at the
            end. prompts: of each level below the finest, the deepest first.

    Source: Potlapalli et al., arXiv 2306.13090.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        width: int = 48,
        depths: Sequence[int] = (4, 6, 6, 8),
        heads: Sequence[int] = (1, 2, 4, 8),
        refinement: int = 4,
        prompts: Sequence[Prompt] = (Prompt(320, 5, 16), Prompt(128, 5, 32), Prompt(64, 5, 64)),
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(len(depths))]
        deepest = len(depths) - 1
        self.embed = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.encoders = nn.ModuleList(map(blocks, widths[:-1], heads, depths))
        self.downs = nn.ModuleList(map(halved, widths[:-1]))
        self.deepest = blocks(widths[-1], heads[-1], depths[-1])
        decoders, incoming = [], widths[-1]
        for level, prompt in zip(range(deepest, 0, -1), prompts, strict=True):
            left = incoming // 2 if level == deepest else incoming
            # The encoder's width at this level, except for the finest, where nothing is reduced.
            channels_out = widths[level - 1] if level > 1 else left // 2 + width
            prompted = Prompted(prompt, incoming, heads[min(2, deepest)], left)
            decoders.append(
                Decoder(prompted, left, widths[level - 1], channels_out, heads[level - 1], depths[level - 1])
            )
            incoming = channels_out
        self.decoders = nn.ModuleList(decoders)
        self.refine = blocks(incoming, heads[0], refinement)
        self.out = nn.Conv2d(incoming, channels, 3, padding=1, bias=False)

    def no_weight_decay(self) -> set[str]:
        """The prompts: what they hold is no weight of a layer, so that it is neither decayed nor masked."""
        return {name for name, _ in self.named_parameters() if name.endswith(".components")}

    def forward(self, image: Tensor) -> Tensor:
        x = self.embed(image)
        skipped = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skipped.append(x)
            x = down(x)
        x = self.deepest(x)
        for decoder in self.decoders:
            x = decoder(x, skipped.pop())
        return self.out(self.refine(x)) + image  # type: ignore[no-any-return]


# An image is restored as it came, so what the data call classes are its channels.
@register("restoration/promptir", input_shape=(3, 64, 64), classes=3, kind="restoration")
def full(*, classes: int, in_channels: int) -> PromptIR:
    """The published size."""
    return PromptIR(channels=in_channels)


@register("restoration/promptir-small", input_shape=(3, 64, 64), classes=3, kind="restoration")
def small(*, classes: int, in_channels: int) -> PromptIR:
    """Four levels of one block each, a third of the channels; sides are multiples of 8."""
    return PromptIR(
        channels=in_channels, width=16, depths=(1, 1, 1, 1), refinement=1,
        prompts=(Prompt(32, 5, 4), Prompt(16, 5, 8), Prompt(8, 5, 16)),
    )  # fmt: skip


@register("restoration/promptir-tiny", input_shape=(3, 32, 32), classes=3, kind="restoration")
def tiny(*, classes: int, in_channels: int) -> PromptIR:
    """Three levels of one block each and few channels, to try things; sides are multiples of 4."""
    return PromptIR(
        channels=in_channels, width=8, depths=(1, 1, 1), heads=(1, 2, 4), refinement=1,
        prompts=(Prompt(16, 3, 8), Prompt(8, 3, 16)),
    )  # fmt: skip
