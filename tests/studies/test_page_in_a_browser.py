"""The page of a study as a browser shows it, of committed rows: light and dark, wide and narrow, off the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dnal.studies import STUDIES
from dnal.studies.page import write_page
from dnal.studies.study import sized
from dnal.studies.table import read_rows, values_of
from pages import shown

COMMITTED = Path(__file__).parents[2] / "benchmarks" / "studies"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1400, "light")])
@pytest.mark.parametrize("name", [name for name in STUDIES.names() if STUDIES.is_ours(name)])
def test_it_is_quiet_whole_and_answers(
    browser: Any, screenshots: Path, tmp_path: Path, name: str, width: int, scheme: str
) -> None:
    rows = [values_of(row) for row in read_rows(COMMITTED / f"{name}.csv")]
    write_page(tmp_path / "report.html", name, sized(STUDIES.of(name), "small"), rows)
    assert shown(browser, tmp_path / "report.html", screenshots / f"{name}-{width}-{scheme}.png", width, scheme) == 1
