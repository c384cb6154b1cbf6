"""Supernets: networks whose candidate operations are all active, among which the gates choose. A space of your own is
a network with some :class:`MixedEdge` in it; ``resnet_like`` is an example of one in a few lines."""

from dnal.space.surgery.edge import MixedEdge
from dnal.supernet.mobile import MBConv
from dnal.supernet.text import blocks

__all__ = ["MBConv", "MixedEdge", "blocks"]
