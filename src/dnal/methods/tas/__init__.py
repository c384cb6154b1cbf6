"""Transformable architecture search."""
