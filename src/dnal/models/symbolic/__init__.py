"""Networks whose structure a small program writes: the language, its grammar, the head, and the search."""
