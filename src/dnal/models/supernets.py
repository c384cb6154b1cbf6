"""Supernets: every edge has candidate operations among which the gates choose (``dnal.supernet``)."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from dnal.models.kaiming import kaiming_init
from dnal.models.registry import register
from dnal.supernet.proxyless import CIFAR, PROXYLESS, SMALL, TINY, MobileSupernet
from dnal.supernet.resnet_like import ResNetLike

N = TypeVar("N", bound=nn.Module)


@register("supernet/proxyless", input_shape=(3, 224, 224), classes=1000)
def proxyless(*, classes: int, in_channels: int) -> MobileSupernet:
    """The ProxylessNAS space of arXiv 2103.02126: 21 edges of 6 candidates."""
    return _initialised(MobileSupernet(PROXYLESS, classes=classes, in_channels=in_channels))


@register("supernet/proxyless-cifar", input_shape=(3, 32, 32))
def proxyless_cifar(*, classes: int, in_channels: int) -> MobileSupernet:
    """The same with fewer strides, for images of 32."""
    return _initialised(MobileSupernet(CIFAR, classes=classes, in_channels=in_channels))


@register("supernet/small", input_shape=(3, 32, 32))
def small(*, classes: int, in_channels: int) -> MobileSupernet:
    """Eight edges of 6 candidates."""
    return _initialised(MobileSupernet(SMALL, classes=classes, in_channels=in_channels))


@register("supernet/tiny", input_shape=(1, 8, 8))
def tiny(*, classes: int, in_channels: int) -> MobileSupernet:
    """Three edges of 4 candidates, for images of 8."""
    return _initialised(MobileSupernet(TINY, classes=classes, in_channels=in_channels))


@register("supernet/resnet_like", input_shape=(3, 32, 32))
def resnet_like(*, classes: int, in_channels: int) -> ResNetLike:
    """Six edges of basic, bottleneck, depthwise and squeeze-and-excite blocks."""
    return _initialised(ResNetLike(classes=classes, in_channels=in_channels))


def _initialised(network: N) -> N:
    kaiming_init(network)
    return network
