"""Set-based neural network encoding (SNE): a network as sets of chunks of weights (arXiv 2305.16625)."""
