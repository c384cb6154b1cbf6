"""Zoos: many small networks with their weights and accuracies, trained at once."""
