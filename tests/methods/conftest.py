from chain import batches, fresh_network, network, space

__all__ = ["batches", "fresh_network", "network", "space"]
