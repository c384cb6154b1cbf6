"""What large would cost: the page says what the script computes from the committed results."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import pytest

from benchmark_script import FOLDER, script

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    return script("speed/scale")


def test_the_file_and_the_page_are_of_the_committed_results(scale: ModuleType) -> None:
    computed = [{name: str(value) for name, value in row.items()} for row in scale.rows()]
    assert computed
    assert scale.read_rows(FOLDER / "speed" / "scale.csv") == computed
    page = PAGE.read_text(encoding="utf-8").splitlines()
    assert [line for line in page if line in set(map(scale.line, computed))] == list(map(scale.line, computed))


def test_a_law_is_found_again(scale: ModuleType) -> None:
    x = [1.0, 3.0, 10.0, 40.0]
    found = scale.law(x, [2.0 * each**1.5 for each in x])
    assert math.isclose(found.factor, 2.0)
    assert math.isclose(found.power, 1.5)
    assert found.error < 1e-9
    assert math.isclose(found(100.0), 2000.0)
    noisy = scale.law(x, [2.0 * each**1.5 * factor for each, factor in zip(x, (1.1, 0.9, 1.1, 0.9), strict=True)])
    assert noisy.error > 0.01
    assert 1.05 < noisy.scatter < 1.3
