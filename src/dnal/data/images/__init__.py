"""Images: (N, C, H, W), and a class of each."""
