"""Guidance: a frozen network says how the layers of another one should see the examples."""

from dnal.techniques.guidance.guide import Guide
from dnal.techniques.guidance.similarity import layer_map, linear_cka, rsa
from dnal.techniques.guidance.technique import Guidance

__all__ = ["Guidance", "Guide", "layer_map", "linear_cka", "rsa"]
