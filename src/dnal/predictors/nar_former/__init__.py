"""NAR-Former (arXiv 2211.08024): the network, and how it learns."""
