"""The page of an analysis as a browser shows it: quiet, off the network, every chart drawn and answering the mouse."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli_program import Program
from pages import shown

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("width", "scheme"), [(width, s) for width in (400, 1400) for s in ("light", "dark")])
def test_it_is_quiet_whole_and_answers(
    browser: Any, dnal: Program, finished: Path, tmp_path: Path, screenshots: Path, width: int, scheme: str
) -> None:
    here = importlib.util.find_spec("corrupt_tta") is not None
    options = ("--corruptions", "noise" if here else "none", "--severities", "1,5", "--images", 60)
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    assert dnal("analyse", run, *options).status == 0
    page = run / "analysis" / "analysis.html"
    charts = shown(browser, page, screenshots / f"analysis-{width}-{scheme}.png", width, scheme)
    assert charts == (10 if here else 4)
    assert page.read_text(encoding="utf-8").count("data:image/png;base64,") > 10
