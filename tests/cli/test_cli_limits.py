"""What the machine lacks is a sentence: shared memory, open files, address space."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dnal.cli.failures import sentence_of

JOB = ["learn", "--epochs", "1,1,1", "--limit-train", "200", "--no-report", "--out", "run"]


def ended(folder: Path, workers: int, *before: str, **limits: int) -> str:
    """What the job said, which ended badly under these limits; nothing but lines of ours."""

    def limit() -> None:
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))

    answer = subprocess.run(
        [*before, sys.executable, "-m", "dnal", *JOB, "--workers", str(workers)], cwd=folder, preexec_fn=limit,
        capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert answer.returncode == 2, answer.stderr
    lines = answer.stderr.splitlines()
    assert all(line.startswith("dnal: ") for line in lines), answer.stderr
    return lines[-1]


@pytest.mark.slow
@pytest.mark.parametrize("size", ["16k", "64k"], ids=["no semaphore", "no batch"])
def test_a_full_place_for_shared_memory(size: str, tmp_path: Path) -> None:
    """A queue of workers alone would drop the batch, and the job would wait for it for ever."""
    mount = ["unshare", "-Urm", "sh", "-c", f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"', "-"]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no /dev/shm of its own can be had here")
    assert "/dev/shm, is full; make it larger" in ended(tmp_path, 2, *mount)


@pytest.mark.slow
def test_few_open_files(tmp_path: Path) -> None:
    assert "raise the limit (`ulimit -n`), or lower --workers" in ended(tmp_path, 8, NOFILE=64)


@pytest.mark.slow
def test_little_address_space(tmp_path: Path) -> None:
    assert "address space (`ulimit -v`)" in ended(tmp_path, 2, AS=2_000_000_000)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (RuntimeError("Too many open files. Communication with the workers is no longer possible."), "ulimit -n"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "ulimit -v"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "ulimit -v"),
        (MemoryError(), "--batch-size"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ..."), "/dev/shm"),
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_7_8_0>: No space left"), "/dev/shm"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "fewer --workers"),
    ],
)
def test_each_kind_says_what_helps(error: Exception, words: str) -> None:
    said = sentence_of(error)
    assert said is not None
    assert words in said
    assert said.endswith(".")


def test_a_full_disk_is_not_taken_for_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dnal.cli.failures.SHARED", str(tmp_path))
    assert sentence_of(OSError(errno.ENOSPC, "No space left on device")) is None
