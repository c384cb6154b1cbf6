"""The benchmark: every method, and rivals from outside, on the same bases at the same cost."""
