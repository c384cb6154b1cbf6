"""Variational quantum circuits by simulation, trained by clients together, and attacks on the gradients they share."""
