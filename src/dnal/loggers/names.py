"""The loggers that have a name, and what they leave in a folder."""

import json
from collections.abc import Sequence

NAMES = ("tensorboard", "mlflow", "wandb")
"""Each is also the name of its package and of the extra that installs it."""

LOGGERS = "loggers.json"
"""Which loggers a job in this folder has, and the id of its log in each, by which that goes on."""
BOARD = "tensorboard"
"""The folder of TensorBoard's files."""


def unopened(names: Sequence[str]) -> str:
    """loggers.json of a job with these loggers, before one of them has opened its log."""
    return json.dumps(dict.fromkeys(names, ""), indent=1) + "\n"
