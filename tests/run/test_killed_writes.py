"""Killed inside any file operation, a run folder is one from which the job goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dying import CURVE, Dying, begin, begin_both, begin_on_a_full_disk, end, prepared, replace

from dnal.base.errors import UserError
from dnal.loggers import logs_of
from dnal.run import check_free, load, read_config, read_result
from dnal.run.files import CONFIG, DETAILS, LATENCY, LOCK, RESULT, TRADE_OFF, runs_in
from dnal.run.older import LATER
from dnal.run.trade_off import check_not_begun, complete
from dnal.run.writer import leftovers, tidy, vacant

MOMENTS = ("before", "after", "torn")


@pytest.fixture(scope="module")
def dying() -> Iterator[Dying]:
    made = Dying()
    yield made
    made.pool.terminate()


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("work", [begin, replace])
def test_a_start_is_a_whole_run_or_a_free_folder(dying: Dying, work: object, moment: str, tmp_path: Path) -> None:
    *dead, alive = dying.deaths(work, tmp_path, moment)  # type: ignore[arg-type]
    assert len(dead) > 6
    begun = 0
    for folder in dead:
        if not folder.exists() or vacant(folder):
            check_free(folder)
            begin(folder).close()  # the same command
        elif read_config(folder).model_extra == {"lr": 0.1, **LATER} and not (folder / RESULT).exists():
            begun += 1
        else:  # not touched yet: the run that was to be replaced
            assert work is replace
            assert read_result(folder)
            load(folder)
            continue
        assert (folder / LATENCY).exists()
        assert logs_of(folder) == ["tensorboard"]
        assert names(folder) - {LOCK} >= names(alive) - {LOCK}
    assert begun or moment == "torn"


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_trade_off_begins_with_all_its_runs_or_with_none(dying: Dying, moment: str, tmp_path: Path) -> None:
    *dead, _ = dying.deaths(begin_both, tmp_path, moment)
    assert len(dead) > 10
    completed = 0
    for folder in dead:
        recorded = (folder / TRADE_OFF).exists()
        if recorded:
            with pytest.raises(UserError, match=r"`dnal resume .*` goes on with it"):
                check_not_begun(folder)
        complete(folder)
        begun = runs_in(folder)
        assert len(begun) in (0, len(CURVE))
        completed += recorded and bool(begun)
        for name in CURVE:
            if begun:
                document = yaml.safe_load((folder / name / CONFIG).read_text())
                assert document["budget"] == name
                assert (folder / name / LATENCY).exists()
            else:
                assert not (folder / name).exists() or vacant(folder / name)
        assert not (folder / TRADE_OFF).exists()
    assert completed > 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_end_is_finished_when_it_is_whole(dying: Dying, moment: str, tmp_path: Path) -> None:
    *dead, alive = dying.deaths(end, tmp_path, moment)
    assert len(dead) > 15
    finished = 0
    for folder in dead:
        if (folder / RESULT).exists():
            finished += 1
            tidy(folder)
            assert not leftovers(folder)
            assert names(folder) - {LOCK} == names(alive)
            load(folder)
        else:
            assert read_config(folder).model_extra == {"lr": 0.1, **LATER}
            assert names(folder) & {"checkpoint.safetensors", "checkpoint.before.safetensors"}
    assert finished > 2 or moment == "torn"


def test_a_record_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"../out": "a"}', '{"a": 1}', '{"..": "a"}'):
        (tmp_path / TRADE_OFF).write_text(text)
        with pytest.raises(UserError, match="--overwrite"):
            complete(tmp_path)
    assert names(tmp_path) == {TRADE_OFF}


def test_a_start_on_a_full_disk_leaves_nothing(dying: Dying, tmp_path: Path) -> None:
    said = dying.failure(begin_on_a_full_disk, tmp_path / "run")
    assert "cannot be written (File too large); choose another with --out" in said
    assert not (tmp_path / "run").exists()


def test_details_that_cannot_be_written_leave_the_run_unfinished(tmp_path: Path) -> None:
    run = tmp_path / "run"
    prepared(run)
    (run / DETAILS).mkdir()  # no file can take its place
    with pytest.raises(UserError, match=r"details.json' cannot be written"):
        end(run)
    assert not (run / RESULT).exists()
    (run / DETAILS).rmdir()
    end(run)
    assert {RESULT, DETAILS} <= names(run)


def test_files_of_a_run_that_nobody_began_are_somebodys_own(tmp_path: Path) -> None:
    (tmp_path / LATENCY).write_text("{}")  # such as `dnal profile` writes
    with pytest.raises(UserError, match="is no run"):
        check_free(tmp_path, overwrite=True)
    assert names(tmp_path) == {LATENCY}


def test_a_folder_that_was_there_stays_where_a_start_fails(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    with pytest.raises(UserError):
        begin(tmp_path)
    assert names(tmp_path) == {LOCK}


def test_a_name_that_no_system_takes_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has a name of 400 bytes"):
        check_free(tmp_path / ("long" * 100))
