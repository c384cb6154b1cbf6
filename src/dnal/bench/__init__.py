"""The benchmark: every method, and baselines from outside, on the same bases at the same cost."""
