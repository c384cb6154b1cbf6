"""How a study runs: no row twice, in one process as in several, whatever ends it; and what is refused."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coin import Coin

from dnal.base.errors import UserError
from dnal.studies.run import Outcome, claimed, rows_of, run_study
from dnal.studies.study import Sized, sized
from dnal.studies.table import MADE, RESULTS, keep_row, key_of


def coin(out: Path, seeds: int | None = None, size: str = "tiny", **options: Any) -> Sized:
    out.mkdir(exist_ok=True)
    return sized(Coin, size, {"log": str(out.parent / "log"), **options}, seeds)


def made(out: Path) -> list[str]:
    """Which rows were made, in their order, whatever became of them."""
    log = out.parent / "log"
    return log.read_text().splitlines() if log.exists() else []


def table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / RESULTS).open()))


def result(rows: list[dict[str, str]]) -> list[tuple[str, ...]]:
    """What does not depend on the clock."""
    return [(row["side"], row["seed"], row["share"], row["note"]) for row in rows]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_every_row_is_made_once_and_the_same_anywhere(out: Path, tmp_path: Path) -> None:
    study = coin(out)
    heard: list[tuple[str, str]] = []
    here = run_study(study, out, at_once=1, on_end=lambda what, why: heard.append((what, why)))
    assert (here.left, here.failed, here.killed) == (0, {}, False)
    assert [(row["side"], row["seed"]) for row in here.rows] == [
        (side, seed) for seed in range(4) for side in ("heads", "tails")
    ]
    assert heard[0] == ("side heads, seed 0", "")
    assert made(out) == [f"{row['side']} {row['seed']}" for row in here.rows]
    assert not (out / MADE).exists()
    assert {row["note"] for row in table(out)} == {"'=1+1"}
    assert all(row["made_with"].startswith("dnal ") and float(row["row_seconds"]) >= 0 for row in table(out))

    again = run_study(study, out, at_once=1)
    assert again.rows == here.rows == rows_of(study, out)
    assert len(made(out)) == 8
    elsewhere = tmp_path / "elsewhere"
    run_study(coin(elsewhere), elsewhere, at_once=2)
    assert result(table(elsewhere)) == result(table(out))


def test_more_seeds_add_rows_and_fewer_take_none_away(out: Path) -> None:
    run_study(coin(out, seeds=3), out, at_once=1)
    more = run_study(coin(out, seeds=5), out, at_once=1)
    assert (len(more.rows), len(made(out)), len(set(made(out)))) == (10, 10, 10)
    fewer = run_study(coin(out, seeds=1), out, at_once=1)
    assert len(fewer.rows) == 10
    assert len(table(out)) == 10


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("refuse", "this coin stands on its edge."),
        ("fail", "KeyError: 'edge'"),
        ("tensor", "a row holds plain values: texts and numbers of Python, not a tensor (2,) of float64."),
        ("seed", "the row gives 'seed', which is among what it was asked for."),
    ],
)
def test_a_row_that_cannot_be_made_is_told_and_tried_again(out: Path, trouble: str, said: str) -> None:
    study = coin(out, trouble=trouble)
    for times in (1, 2):
        outcome = run_study(study, out, at_once=1)
        assert outcome.failed == {"side tails, seed 3": said}
        assert (len(outcome.rows), outcome.left) == (7, 1)
        assert len(made(out)) == 7 + times


@pytest.mark.parametrize("shared", [False, True])
def test_a_killed_process_costs_no_row_that_is_there(out: Path, shared: bool) -> None:
    outcome = run_study(coin(out, trouble="kill", shared=shared), out, at_once=2)
    assert outcome.killed
    assert outcome.left == 8 - len(outcome.rows) >= 1
    assert not shared or len(outcome.rows) == 7, "those before it in the same process were kept"
    before = {key_of({"side": row["side"]}, int(row["seed"])) for row in outcome.rows}
    (out.parent / "log").unlink()
    after = run_study(coin(out, shared=shared), out, at_once=1)
    assert after.left == 0
    assert {f"{dict(key)['side']} {dict(key)['seed']}" for key in before} & set(made(out)) == set()
    assert len(made(out)) == 8 - len(before)


def test_rows_that_ended_after_the_process_that_writes_the_table(out: Path) -> None:
    study = coin(out)
    setting, seed = study.rows()[5]
    keep_row(out, key_of(setting, seed), {**setting, "seed": seed, "share": 0.25, "note": "kept"})
    outcome = run_study(study, out, at_once=1)
    assert [row["share"] for row in outcome.rows if (row["side"], row["seed"]) == ("tails", 2)] == [0.25]
    assert "tails 2" not in made(out)
    keep_row(out, key_of(setting, seed), {**setting, "seed": seed, "share": 0.5})  # in the table already
    assert run_study(study, out, at_once=1).rows == outcome.rows


def test_what_a_killed_process_was_writing_goes(out: Path) -> None:
    study = coin(out)
    (out / MADE).mkdir()
    (out / MADE / f"x.json.{16 * 'a'}.tmp").touch()
    assert run_study(study, out, at_once=1).left == 0
    assert not (out / MADE).exists()


def test_a_stop_begins_nothing_more(out: Path) -> None:
    calls = iter([False] * 4 + [True] * 9)
    outcome = run_study(coin(out), out, at_once=1, stop=lambda: next(calls))
    assert len(outcome.rows) == len(made(out)) == 2
    assert outcome.left == 6
    assert isinstance(run_study(coin(out), out, at_once=1), Outcome)
    assert len(made(out)) == len(set(made(out))) == 8


def test_what_a_row_gives_is_read_as_it_was(out: Path) -> None:
    study = coin(out, seeds=1)
    setting, seed = study.rows()[0]
    values = {
        "a": np.float64(0.1),
        "b": 1e-20,
        "c": 3,
        "d": -2,
        "e": "4+2+6",
        "f": "two\nlines",
        "g": "-x",
        "h": float("inf"),
        "i": True,
    }
    keep_row(out, key_of(setting, seed), {**setting, "seed": seed, **values, "share": 0.5})
    row = run_study(study, out, at_once=1).rows[0]
    assert {name: row[name] for name in values} == values | {"f": "two lines", "g": "'-x"}
    assert [type(row[name]) for name in "abcd"] == [float, float, int, int]
    assert row["i"] == 1


def test_one_goes_on_from_the_table_of_somebody_else(out: Path, tmp_path: Path) -> None:
    run_study(coin(out, seeds=2), out, at_once=1)
    other = tmp_path / "other"
    study = coin(other, seeds=3)
    (other / RESULTS).write_bytes((out / RESULTS).read_bytes())
    with claimed(other, "coin:Coin", study.study):
        run_study(study, other, at_once=1)
    assert result(table(other))[:4] == result(table(out))
    assert made(out)[4:] == ["heads 2", "tails 2"]


def test_a_folder_of_something_else_is_refused(out: Path, tmp_path: Path) -> None:
    study = coin(out).study
    with claimed(out, "coin:Coin", study):
        document = json.loads((out / "study.json").read_text())
        assert (document["study"], document["options"]["throws"]) == ("coin:Coin", 20)
    for name, other in (("coin:Coin", coin(out, throws=7).study), ("other", study)):
        with pytest.raises(UserError, match="another study, or this one with other options"):
            claimed(out, name, other).__enter__()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    with pytest.raises(UserError, match="holds no study"):
        claimed(tmp_path / "mine", "coin:Coin", study).__enter__()


@pytest.mark.parametrize("damage", [b"side,share\nheads,1\n", b"side,seed\nheads\n", b"seed\nx\n", b"\xff"])
def test_a_damaged_table_is_one_sentence(out: Path, damage: bytes) -> None:
    study = coin(out)
    (out / RESULTS).write_bytes(damage)
    with pytest.raises(UserError, match=re.escape(str(out / RESULTS))) as raised:
        run_study(study, out, at_once=1)
    assert "\n" not in str(raised.value)
    assert made(out) == []


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"side": "heads", "seed": "0"}', '{"side": 1}'])
def test_a_damaged_row_is_one_sentence(out: Path, damage: str) -> None:
    study = coin(out)
    setting, seed = study.rows()[1]
    keep_row(out, key_of(setting, seed), {"side": "x"})
    (file,) = (out / MADE).iterdir()
    file.write_text(damage)
    with pytest.raises(UserError, match="remove it, and the same command makes this row again"):
        run_study(study, out, at_once=1)
    file.unlink()
    assert run_study(study, out, at_once=1).left == 0


def test_sizes_and_options() -> None:
    assert (sized(Coin, "tiny").study.throws, sized(Coin, "small").study.throws) == (20, 50)  # type: ignore[attr-defined]
    assert sized(Coin, "tiny", {"throws": 3}, seeds=7).seeds == 7
    assert sized(Coin, "tiny", {"throws": 3}).study.throws == 3  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="unknown size 'tin'; did you mean 'tiny'"):
        sized(Coin, "tin")
    with pytest.raises(UserError, match="has no option 'throw'"):
        sized(Coin, "tiny", {"throw": 3})
