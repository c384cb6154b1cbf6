"""WideNet: one attention, one router and one set of experts for all blocks of a transformer."""
