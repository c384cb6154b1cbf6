"""The command line: a thin layer over the package's functions. torch is imported inside the commands only."""

from dnal.cli.app import app, main

__all__ = ["app", "main"]
