"""What is known exactly of over-parameterised networks: a closed form or a simulator a file, pure functions."""
