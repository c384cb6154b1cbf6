"""Texts: words or bytes by their numbers, and a class of each, or what comes next."""
