"""Networks whose activations and weights are bits: signs, with gradients that pass through them."""
