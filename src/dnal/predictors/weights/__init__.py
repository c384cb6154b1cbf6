"""What a network's weights tell of it: the network as a chain of layers, and predictors that read it."""
