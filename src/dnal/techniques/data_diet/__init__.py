"""Data diet: the examples that matter, found early in training, and training on those alone."""

from dnal.techniques.data_diet.scores import Forgetting, el2n, grand

__all__ = ["Forgetting", "el2n", "grand"]
