"""Generalisation measures: numbers of a trained network that are meant to foretell its gap between training and test
accuracy, and how far they do."""
