"""Removing what is closed, and running a network with other tensors."""
