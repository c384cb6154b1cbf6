"""What may vary in a network, what it costs, and how it is removed. Knows torch and nothing else of the package
but the errors and the Architecture."""
