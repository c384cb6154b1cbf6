"""What each ATen operation does to labels: one short function a kind of operation, one registry.

To add an operation: write ``def rule(t: Trace, c: Call)`` in the file of its kind, decorate it with the operation's
names (without overload and without the in-place underscore) and read ``t.axis`` / ``t.meet``, write ``t.put``. Whatever
has no rule is frozen, so a missing rule costs removable channels, never correctness.
"""

from dnal.space.rules import attention, movement, norms, pointwise, positions, products, recurrent, whole
from dnal.space.rules.registry import RULES

__all__ = ["RULES", "attention", "movement", "norms", "pointwise", "positions", "products", "recurrent", "whole"]
