"""Nested dropout: features in an order of importance, of which the first ones are enough."""

from dnal.techniques.nested_dropout.nested import Nested, chances
from dnal.techniques.nested_dropout.technique import NestedDropout
from dnal.techniques.nested_dropout.truncation import best, each_truncation, truncated, unread

__all__ = ["Nested", "NestedDropout", "best", "chances", "each_truncation", "truncated", "unread"]
