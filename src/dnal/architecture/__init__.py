"""Which channels stay, as a file; the removal."""
