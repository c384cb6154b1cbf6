"""Networks for events between nodes over time."""

from dnal.models.temporal import todyformer

__all__ = ["todyformer"]
