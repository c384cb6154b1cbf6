"""Networks that restore images: degraded images in, clean ones out, of the same size."""

from dnal.models.restoration import promptir

__all__ = ["promptir"]
