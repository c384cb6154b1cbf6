"""Clean images, of which a network sees degraded copies: how they are degraded, read, cut and handed out."""
