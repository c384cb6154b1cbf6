"""Spaces of networks, a file each and a line below."""

from dnal.base.registry import Registry
from dnal.search.spaces.space import NetworkSpace

SPACES = Registry(
    "space",
    NetworkSpace,
    {
        "binary-mobilenet": "dnal.search.spaces.binary_mobilenet:BinaryMobileNet",
        "layers": "dnal.search.spaces.layers:Layers",
        "layered-graph": "dnal.search.spaces.layered_graph:LayeredGraph",
    },
)
"""All spaces by name."""

__all__ = ["SPACES", "NetworkSpace"]
