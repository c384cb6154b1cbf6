"""Ways from a network, a Space and a Budget to an Architecture: one file each."""
