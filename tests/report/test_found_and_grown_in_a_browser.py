"""The pages of a search and of a grown network as a browser shows them: quiet, off the network, every chart drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pages import shown

pytestmark = pytest.mark.slow

JOBS = {
    "search": [
        "--space", "layers:channels=6,depth=5,units=12", "--sampler", "random:round=3", "--budget", "params<=4k",
        "--evaluations", "6", "--epochs", "2", "--final-epochs", "1", "--pruner", "median:start=2",
    ],
    "grow": ["--budget", "params<=200%", "--rounds", "2", "--epochs", "1,2,1"],
}  # fmt: skip
CHARTS = {"search": 5, "grow": 5}
"""At least."""


@pytest.mark.parametrize("name", JOBS)
def test_it_is_quiet_whole_and_answers(browser: Any, tmp_path: Path, screenshots: Path, name: str) -> None:
    from dnal.cli import app

    if name == "search":
        pytest.importorskip("optuna")
    with pytest.raises(SystemExit) as ended:
        app([name, *JOBS[name], "--limit-train", "96", "--out", str(tmp_path / name)], prog_name="dnal")
    assert ended.value.code == 0
    for width, scheme in ((400, "dark"), (1400, "light")):
        page = tmp_path / name / "report.html"
        assert shown(browser, page, screenshots / f"{name}-{width}-{scheme}.png", width, scheme) >= CHARTS[name]
