"""Nothing that dnal builds on reports that it is used: each package has a variable for that, set before its import.

A variable that is set already stays, so you can turn reports on.
"""

from __future__ import annotations

import os

OFF = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime would also keep a number of this machine and a queue in its home
    "RAY_USAGE_STATS_ENABLED": "0",
    "WANDB_ERROR_REPORTING": "false",
}


def off() -> None:
    """Turns it off for this process and those that it starts."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
