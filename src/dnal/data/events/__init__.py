"""Events between nodes over time, such as messages: which pair of nodes has one next."""
