"""Binary networks: activations and weights are signs, through which gradients pass."""
