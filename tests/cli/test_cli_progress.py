"""The bars, drawn on a terminal that is a string."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from dnal.cli import progress
from dnal.cli.progress import ProgressBars

RECORD = {"epoch": 1, "macs_hard": 1.5e6, "undecided": 0.625, "accuracy": 0.5}


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=80))
    return screen


def lines(screen: io.StringIO) -> list[str]:
    """What was drawn, without the codes that move the cursor."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", screen.getvalue())
    return [line.strip() for line in plain.replace("\r", "\n").split("\n") if line.strip()]


def test_phase_epoch_loss_macs_and_gates(screen: io.StringIO) -> None:
    with ProgressBars() as bars:
        bars.phase("architecture", 2, 3)
        for loss in (2.0, 2.0, 2.0):
            bars.step(loss)
        bars.epoch(RECORD)
        bars.step(2.0)
        bars.phase("retrain", 1, 1)
        bars.step(1.0)
        bars.epoch({"epoch": 1, "accuracy": 0.5})
    shown = "\n".join(lines(screen))
    for text in ("epoch 2/2", "loss 2.000", "MACs 1.50 M", "undecided 62 %", "retrain", "accuracy 50.00 %"):
        assert text in shown
    assert re.search(r"\d:\d\d:\d\d", shown)  # the time left


def test_macs_are_a_share_of_the_base_where_that_is_known(screen: io.StringIO) -> None:
    with ProgressBars() as bars:
        bars.space(None, [{"cost": "params", "base": 7}, {"cost": "macs", "base": 6e6}])  # type: ignore[arg-type]
        bars.phase("architecture", 1, 1)
        bars.step(2.0)
        bars.epoch(RECORD)
    assert "MACs 25.0 %" in "\n".join(lines(screen))


def test_everything_of_a_long_trade_off_fits_into_80_columns(screen: io.StringIO) -> None:
    with ProgressBars() as bars:
        bars.space(None, [{"cost": "macs", "base": 1.5e6}])  # type: ignore[arg-type]
        for _ in range(3):
            bars.start({})
        bars.phase("base", 40, 5)
        for _ in range(3):
            bars.phase("architecture", 40, 1)
            bars.step(2.345)
            bars.epoch({**RECORD, "epoch": 40, "undecided": 1.0})
            bars.phase("retrain", 40, 1)
    shown = lines(screen)
    assert any("architecture 3/3" in line and "MACs 100.0 %  undecided 100 %" in line for line in shown)
    assert any(line.startswith("retrain 2/3") for line in shown)
    assert max(map(len, shown)) <= 80
    assert not any("…" in line for line in shown)


def test_what_was_done_before_a_resumption_says_nothing_of_the_time_left(screen: io.StringIO) -> None:
    with ProgressBars() as bars:
        bars.phase("base", 10, 100)
        bars.resumed([], 900)
        task = bars._bars.tasks[0]
        assert (task.completed, task.speed) == (900, None)


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBars() as bars:  # stderr is no terminal here
        bars.phase("base", 1, 1)
        bars.step(1.0)
    with ProgressBars(shown=False) as bars:
        bars.phase("base", 1, 1)
    assert capsys.readouterr() == ("", "")
