"""Neural Graphs: a network as the graph of its neurons (arXiv 2403.12143)."""
