"""WideNet: one attention, one router and one set of experts for all blocks of a transformer."""

from dnal.models.widenet import images, text

__all__ = ["images", "text"]
