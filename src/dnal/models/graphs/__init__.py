"""Networks for graphs."""

from dnal.models.graphs import dagnn, gcn

__all__ = ["dagnn", "gcn"]
