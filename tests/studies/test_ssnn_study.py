"""The study of networks that programs structure: puzzles as a file has them, and rows that stand alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnal.base.errors import UserError
from dnal.base.statistics import spearman
from dnal.studies.claims import ssnn
from dnal.studies.claims.ssnn import NONE, ONE, PROGRAMS, PUZZLES, RANDOM, GraphsModulateGeneralisation


def puzzles(path: Path, **changes: Any) -> str:
    """Bright and dark images, which is what is asked."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 60).astype(np.uint8)
    x = (draw.integers(0, 60, (60, 16, 16)) + 150 * y[:, None, None]).astype(np.uint8)
    np.savez(path, **{"x": x, "constant_colour": y, **changes})
    return str(path)


def study(path: str, **changes: Any) -> GraphsModulateGeneralisation:
    options = {"images": 24, "held": 30, "features": 32, "width": 8, "population": 2, "keep": 1, "rounds": 1}
    return GraphsModulateGeneralisation(puzzles=path, **{**options, "tries": 600, "epochs": 2, **changes})


def test_puzzles_are_learnt_and_a_row_does_not_depend_on_those_before(tmp_path: Path) -> None:
    own = study(puzzles(tmp_path / "p.npz"), epochs=8)
    rows = {networks: own.row(1, PUZZLES, networks) for networks in (PROGRAMS, RANDOM, ONE, NONE)}
    assert all(row["number"] == 1 for row in rows.values())
    assert rows[NONE]["val"] > 90
    ssnn._searched.cache_clear()
    ssnn._images.cache_clear()
    for networks in (ONE, PROGRAMS):
        again = own.row(1, PUZZLES, networks)
        assert {name: str(value) for name, value in again.items()} == {
            name: str(value) for name, value in rows[networks].items()
        }
    # A single smallest program, a pair of nodes: a random graph of its size is that graph, trained with another seed.
    assert rows[PROGRAMS]["elements"] == 3
    assert rows[PROGRAMS]["all_again"].count(":") == 1


def test_what_a_row_tells_is_of_all_networks() -> None:
    fits = [ssnn.Fit(90.0, 60.0), ssnn.Fit(80.0, 64.0), ssnn.Fit(70.0, 50.0), ssnn.Fit(95.0, 70.0)]
    told = ssnn._told(fits)
    assert (told["number"], told["train"], told["val"], told["least"], told["most"]) == (4, 83.75, 61.0, 50.0, 70.0)
    assert told["spread"] == pytest.approx(math.sqrt((1 + 9 + 121 + 81) / 3), abs=1e-3)
    assert told["correlation"] == pytest.approx(spearman([2, 1, 0, 3], [1, 2, 0, 3]).value)
    assert told["all"] == "90:60 80:64 70:50 95:70"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": np.zeros((60, 16, 16))}, "8 bits"),
        ({"x": np.zeros((60, 16, 24), np.uint8)}, "multiple of 8"),
        ({"x": np.zeros((60, 12, 12), np.uint8)}, "multiple of 8"),
        ({"constant_colour": np.zeros(59, np.uint8)}, "0 or 1 for each"),
        ({"constant_colour": np.full(60, 2, np.uint8)}, "0 or 1 for each"),
        ({"x": np.zeros((30, 16, 16), np.uint8), "constant_colour": np.zeros(30, np.uint8)}, "give fewer"),
    ],
)
def test_a_file_of_something_else_is_a_sentence(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    own = study(puzzles(tmp_path / "p.npz", **changes))
    with pytest.raises(UserError, match=words):
        own.row(0, PUZZLES, PROGRAMS)


def test_where_no_program_builds_a_graph_it_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="more `tries`"):
        study(puzzles(tmp_path / "p.npz"), tries=10).row(0, PUZZLES, PROGRAMS)
