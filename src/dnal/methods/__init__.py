"""Ways to choose an architecture, behind one interface; a method is a file and a line below."""

from dnal.methods import dnal, magnitude, random_search, slimming, tas, taylor, uniform
from dnal.methods.registry import Method, method_of, methods, register

__all__ = [
    "Method",
    "dnal",
    "magnitude",
    "method_of",
    "methods",
    "random_search",
    "register",
    "slimming",
    "tas",
    "taylor",
    "uniform",
]
