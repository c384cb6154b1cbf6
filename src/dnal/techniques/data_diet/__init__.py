"""Data diet: the examples that matter, found early in training, and training on those alone."""

from dnal.techniques.data_diet.diet import DataDiet, kept
from dnal.techniques.data_diet.scores import Forgetting, el2n, grand
from dnal.techniques.data_diet.scoring import scores_of

__all__ = ["DataDiet", "Forgetting", "el2n", "grand", "kept", "scores_of"]
