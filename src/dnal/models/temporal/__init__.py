"""Networks for events between nodes over time."""
