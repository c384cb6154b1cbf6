"""Reading a finished run: its network and its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dnal import models
from dnal.architecture import Architecture
from dnal.errors import UserError
from dnal.run.config import Config, read_config
from dnal.run.files import ARCHITECTURE, MODEL, RESULT
from dnal.space.remove import removed


def load(run: str | Path) -> nn.Module:
    """The compact network of a finished run, in eval mode, on the CPU. Needs no trace and no data.

    The network is created by its name, loses the channels that architecture.json closes, and gets the tensors of
    model.safetensors.

    Raises:
        UserError: no folder, no run, an unfinished one, or files that do not fit each other (naming the first tensor).
    """
    config = read_config(run)
    check_finished(Path(run))
    network = base_network(config)
    architecture = Architecture.load(Path(run) / ARCHITECTURE)
    architecture.check(network)
    compact = removed(network, architecture.kept)
    models.load_weights(compact, Path(run) / MODEL)
    return compact.eval()


def read_result(run: str | Path) -> dict[str, Any]:
    """result.json of a finished run.

    Raises:
        UserError: no finished run, or a file that is no result.
    """
    path = Path(run)
    read_config(path)
    check_finished(path)
    try:
        result = json.loads((path / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        result = None
    if not isinstance(result, dict) or not all(isinstance(result.get(key), dict) for key in ("base", "compact")):
        raise UserError(f"'{path / RESULT}' is no result; run `dnal learn` again.")
    return result


def base_network(config: Config) -> nn.Module:
    # The fresh weights are overwritten or not looked at; the user's random state is not theirs to move.
    with torch.random.fork_rng(devices=[]):
        return models.create(config.model, classes=config.classes, input_shape=config.input)


def check_finished(path: Path) -> None:
    for name in (RESULT, ARCHITECTURE, MODEL):
        if not (path / name).is_file():
            raise UserError(f"the run '{path}' is not finished: it has no {name}; run `dnal learn` again.")
