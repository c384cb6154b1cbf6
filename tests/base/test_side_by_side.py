"""Jobs in processes of their own: all are done, in the order that `ready` allows; a kill and a stop lose none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnal.base.side_by_side import STOPPED, side_by_side, stop_asked


def work(folder: Path, job: int) -> str:
    if (folder / f"kill {job}").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if (folder / f"wait {job}").exists():
        (folder / f"waits {job}").touch()
        while not stop_asked():
            time.sleep(0.01)
        return STOPPED
    (folder / f"done {job}").write_text(str(os.getpid()))
    return f"answer {job}"


def run(folder: Path, jobs: list[int], **more: object) -> tuple[list[int], bool, list[tuple[int, str]]]:
    heard: list[tuple[int, str]] = []
    settings = {"at_once": 2, "stop": lambda: False, "ended": lambda job, answer: heard.append((job, answer))} | more
    left = side_by_side(work, jobs, arguments=lambda job: (folder, job), **settings)  # type: ignore[arg-type]
    return left.jobs, left.killed, heard


def test_all_are_done_elsewhere_each_after_what_it_waits_for(tmp_path: Path) -> None:
    done: list[int] = []
    left, killed, _ = run(
        tmp_path, [3, 2, 1, 0], ready=lambda job: job == 0 or job - 1 in done, ended=lambda job, _: done.append(job)
    )
    assert (left, killed, done) == ([], False, [0, 1, 2, 3])
    assert all((tmp_path / f"done {job}").read_text() != str(os.getpid()) for job in range(4))
    assert run(tmp_path, []) == ([], False, [])


def test_the_heaviest_of_those_that_can_begin_begins_first(tmp_path: Path) -> None:
    left, _, heard = run(tmp_path, [1, 4, 2, 3], at_once=1, weight=lambda job: job % 4, ready=lambda job: job != 3)
    assert [job for job, _ in heard] == [2, 1, 4]
    assert left == [3]


def test_a_killed_one_is_left_and_told(tmp_path: Path) -> None:
    (tmp_path / "kill 1").touch()
    left, killed, heard = run(tmp_path, [0, 1, 2], at_once=1)
    assert killed
    assert 1 in left
    assert {job for job, _ in heard} | set(left) == {0, 1, 2}


def test_a_stop_is_heard_by_those_in_progress_and_nothing_more_begins(tmp_path: Path) -> None:
    (tmp_path / "wait 0").touch()
    left, killed, heard = run(tmp_path, [0, 1], at_once=1, stop=(tmp_path / "waits 0").exists)
    assert (sorted(left), killed, heard) == ([0, 1], False, [])


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_side_by_side import run

if __name__ == "__main__":
    run(Path(sys.argv[1]), [0])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process")
def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "wait 0").touch()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    started = subprocess.Popen([sys.executable, str(script), str(tmp_path), str(Path(__file__).parent)])
    until = time.monotonic() + 60
    while not (tmp_path / "waits 0").exists():
        assert time.monotonic() < until
        assert started.poll() is None
        time.sleep(0.05)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    if not children.exists():
        started.kill()
        pytest.skip("this system does not list children")
    workers = [int(pid) for pid in children.read_text().split()]
    assert workers
    started.kill()
    started.wait()
    while any(_runs(pid) for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
