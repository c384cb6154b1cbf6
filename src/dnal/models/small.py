"""Small networks of families that people use large: they train in minutes on two cores, on images of 16x16 and more."""

from __future__ import annotations

from torch import Tensor, nn

from dnal.models.registry import register

WIDE = (64, 128, 256, 256, 512, 512)
"""Channels of the MobileNet's blocks, twice those of the first six of MobileNetV1."""


class MobileNet(nn.Module):
    """A MobileNetV1 for small images: a convolution, then depthwise and pointwise ones in turn, each with batch norm.

    Args:
        channels: of each block; where they grow, it halves the image.

    Source: Howard et al., arXiv 1704.04861, without its first two strides.
    """

    def __init__(self, channels: tuple[int, ...], *, classes: int, in_channels: int) -> None:
        super().__init__()
        layers, width = [_normed(nn.Conv2d(in_channels, channels[0] // 2, 3, 1, 1, bias=False))], channels[0] // 2
        for index, wider in enumerate(channels):
            stride = 2 if index and wider > width else 1
            layers.append(_normed(nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)))
            layers.append(_normed(nn.Conv2d(width, wider, 1, bias=False)))
            width = wider
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x).mean((2, 3)))
        return logits


def _normed(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())


@register("small/mobilenet", input_shape=(3, 16, 16), least_side=8)
def mobilenet(*, classes: int, in_channels: int) -> nn.Module:
    """MobileNetV1's first six blocks at twice their width, for small images."""
    return MobileNet(WIDE, classes=classes, in_channels=in_channels)


@register("small/vit", input_shape=(3, 16, 16), least_side=16)
def vit(*, classes: int, in_channels: int) -> nn.Module:
    """A ViT of 4 blocks, 96 channels and 6 heads, on patches of 4x4 (timm's VisionTransformer)."""
    from dnal.models.vit import ViT  # timm takes seconds, and the names of models need none of it

    return ViT(
        img_size=16, patch_size=4, in_chans=in_channels, num_classes=classes, embed_dim=96, depth=4, num_heads=6,
        dynamic_img_size=True, dynamic_img_pad=True,
    )  # fmt: skip


@register("small/convnext", input_shape=(3, 16, 16), least_side=8)
def convnext(*, classes: int, in_channels: int) -> nn.Module:
    """A ConvNeXt of 1, 2, 2 and 1 blocks, 24 to 160 channels, whose stem keeps the image's size (timm's)."""
    from timm.models.convnext import ConvNeXt

    return ConvNeXt(
        in_chans=in_channels, num_classes=classes, depths=(1, 2, 2, 1), dims=(24, 48, 96, 160), patch_size=1,
        kernel_sizes=3, ls_init_value=None,
    )  # fmt: skip


@register("small/densenet", input_shape=(3, 16, 16), least_side=16)
def densenet(*, classes: int, in_channels: int) -> nn.Module:
    """A DenseNet of three blocks of 4 layers that grow by 16 channels, for small images (timm's)."""
    from timm.models.densenet import DenseNet

    return DenseNet(
        growth_rate=16, block_config=(4, 4, 4), num_classes=classes, in_chans=in_channels, stem_type="deep",
    )  # fmt: skip
