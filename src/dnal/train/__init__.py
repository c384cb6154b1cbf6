"""Training a network: one loop, its losses and measurements. Knows no method that chooses an architecture."""
