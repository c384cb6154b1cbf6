"""Graphs: nodes with features, edges between them, and a class of some nodes."""
