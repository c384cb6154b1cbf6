"""A Ray of this machine: where it listens, and what is said where it cannot start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")]

LISTENS = """
import json, os, sys
from dnal.sweep.on_ray import connected

def family():
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                parents[int(pid)] = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            pass
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found

def sockets(pids):
    for pid in pids:
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                yield os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            pass

with connected(None):
    import ray
    @ray.remote
    def work():
        return 7
    assert ray.get(work.remote()) == 7
    own = set(sockets(family()))
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table).read().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                listening.append(fields[1].partition(":")[0])
print(json.dumps(listening))
"""
LOOPBACK = {
    "0100007F",  # 127.0.0.1
    "0000000000000000FFFF00000100007F",  # ::ffff:127.0.0.1
    "00000000000000000000000001000000",  # ::1
}


def test_its_servers_listen_on_the_loopback_alone(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    answer = subprocess.run(
        [sys.executable, "-c", LISTENS], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    listening = json.loads(answer.stdout.splitlines()[-1])
    assert len(listening) >= 3
    assert set(listening) <= LOOPBACK


@pytest.mark.parametrize("place", ["/proc/none", "long"])
def test_a_ray_that_cannot_start_is_one_sentence(place: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "sweep.yaml").write_text("grid: {seed: [0]}\n")
    where = str(tmp_path / ("x" * 100)) if place == "long" else place
    answer = subprocess.run(
        [sys.executable, "-m", "dnal", "sweep", "sweep.yaml", "--out", "study"], cwd=tmp_path, capture_output=True,
        text=True, timeout=300, check=False, env={**os.environ, "RAY_TMPDIR": where},
    )  # fmt: skip
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert "Ray cannot start on this machine" in answer.stderr
    assert "RAY_TMPDIR" in answer.stderr
    assert not (tmp_path / "study").exists()
