"""MLPs found by gradient descent: an embedding of networks, in which architecture and weights are one point."""
