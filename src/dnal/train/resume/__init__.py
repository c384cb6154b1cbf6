"""A job's state on disk, and going on from it."""
