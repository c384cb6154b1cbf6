"""What a network costs, and bounds on it."""
