"""Gates at the readers of channels."""
