"""Scores of variables into an architecture within a budget."""
