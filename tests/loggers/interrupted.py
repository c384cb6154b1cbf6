"""A run that is told to a logger and killed at the worst moment."""

from __future__ import annotations

from typing import Any

import pytest

from dnal import cli
from dnal.train.resume.checkpointer import Checkpointer


class Killed(Exception):
    pass


def interrupted(logger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dnal learn --out run`, until its second of four epochs is in the log, but not yet in a checkpoint."""

    def keep(self: Checkpointer, position: Any, *others: Any) -> None:
        if position.epoch == 2:
            raise Killed
        whole(self, position, *others)

    whole = Checkpointer.keep
    job = ["learn", "--epochs", "2,1,1", "--limit-train", "200", "--out", "run", "--quiet", "--log-to", logger]
    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "keep", keep)
        with pytest.raises(Killed):
            cli.app(job, prog_name="dnal")
