"""Events between nodes over time. They are no kind of `dnal data`: what is told is which pair of nodes is next."""
