"""One process at a time works in a folder."""

from __future__ import annotations

import shutil
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from dnal.base.claim import LOCK, check_nobody_works, check_still_held, claimed, held
from dnal.base.errors import UserError
from holder import CONTEXT, holder


def refused(folder: Path) -> None:
    for check in (check_nobody_works, lambda path: held(path).__enter__()):
        with pytest.raises(UserError, match="another `dnal` works in"):
            check(folder)


@pytest.mark.parametrize("forks", [False, True])
def test_it_is_its_holders_until_that_is_killed_whoever_it_forked(forks: bool, tmp_path: Path) -> None:
    with holder(tmp_path, forks=forks) as process:
        refused(tmp_path)
        process.kill()
        process.join()
        assert (tmp_path / LOCK).exists()
        check_nobody_works(tmp_path)
        with held(tmp_path):
            pass
        assert not list(tmp_path.iterdir())


def test_the_holder_may_hold_it_again(tmp_path: Path) -> None:
    with held(tmp_path):
        with held(tmp_path):
            check_nobody_works(tmp_path)
        assert (tmp_path / LOCK).exists()
        check_still_held(tmp_path)
    assert not (tmp_path / LOCK).exists()
    check_still_held(tmp_path)  # it is not held


def contend(folder: str, rounds: int, told: Connection) -> None:
    """Takes a folder again and again, and counts in a file of it, which only its holder may."""
    taken = 0
    while taken < rounds:
        try:
            with held(Path(folder)):
                count = Path(folder, "count")
                number = int(count.read_text() or 0)
                time.sleep(0)
                count.write_text(str(number + 1))
                taken += 1
        except UserError:
            continue
    told.send(taken)


def test_two_that_take_it_in_turn_are_never_there_together(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    ours, theirs = CONTEXT.Pipe()
    processes = [CONTEXT.Process(target=contend, args=(str(tmp_path), 200, theirs)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [ours.recv(), ours.recv()] == [200, 200]
    for process in processes:
        process.join()
    assert int((tmp_path / "count").read_text()) == 400


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_is_taken_away_is_told(again: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with held(folder):
        shutil.rmtree(folder)
        if again:  # another job's
            folder.mkdir()
            (folder / LOCK).touch()
        with pytest.raises(UserError, match="was removed, moved or replaced"):
            check_still_held(folder)
    assert (folder / LOCK).exists() == again


def test_what_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError), held(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_whose_work_is_refused_at_once_is_free_again(tmp_path: Path) -> None:
    def work(folder: Path, after: str) -> None:
        with claimed(folder, "asked.json", "{}", "dnal search"):
            if after:
                (folder / after).write_text("worked")
            raise UserError("no budget of this kind.")

    def begins(folder: Path, after: str = "") -> None:
        with pytest.raises(UserError, match="no budget"):
            work(folder, after)

    begins(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    begins(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []
    begins(tmp_path / "begun", after="first.txt")
    begins(tmp_path / "begun")  # what was begun before stays
    assert sorted(path.name for path in (tmp_path / "begun").iterdir()) == ["asked.json", "first.txt"]
