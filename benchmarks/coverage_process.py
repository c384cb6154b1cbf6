"""One network in a process of its own, with one thread: what it emits stays, however it ends."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def asked(code: str, seconds: int) -> dict[str, Any]:
    """Runs Python code in this folder; what it emitted in all, with a status and a reason where it ended early.
    ``seconds``: the limit that it sets itself, for the sentence."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    return _found(process.stdout, process.stderr, process.returncode, seconds)


def forked(function: Callable[[], None], seconds: int) -> dict[str, Any]:
    """The same of a function in a fork of this process, which imported everything once for all networks."""
    sys.stdout.flush()
    read, write = os.pipe()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        child = os.fork()
        if not child:
            status = 1
            try:
                os.dup2(write, 1)
                os.dup2(errors.fileno(), 2)
                sys.stdout = os.fdopen(1, "w", encoding="utf-8")
                sys.stderr = os.fdopen(2, "w", encoding="utf-8")
                function()
                status = 0
            except BaseException:  # nothing may reach the parent's code from here
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as pipe:
            said = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        errors.seek(0)
        return _found(said, errors.read(), code, seconds)


def _found(said: str, errors: str, code: int, seconds: int) -> dict[str, Any]:
    found = emitted(said)
    if code in (-signal.SIGALRM, -signal.SIGXCPU):
        found |= {"status": "timeout", "reason": f"longer than {seconds} s in its stage '{found.get('stage')}'"}
    elif code:
        last = (errors.strip().splitlines() or [f"exit status {code}"])[-1]
        found |= {"status": "oom" if "alloc" in last else "crash", "reason": last[:200]}
    return found


def emitted(text: str) -> dict[str, Any]:
    """What a process said in lines of JSON, all of them together."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found


def limited(memory_gb: float) -> None:
    """Inside such a process: a limit of memory, one thread, no warnings, the same random numbers each time."""
    import torch

    resource.setrlimit(resource.RLIMIT_DATA, (int(memory_gb * 2**30),) * 2)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)


def emit(**found: Any) -> None:
    """One line of JSON for the parent."""
    print(json.dumps(found), flush=True)


def peak_mb() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def told(error: Exception, length: int = 200) -> str:
    """An exception in one line."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:length]


def full(error: Exception) -> bool:
    """Whether there was no memory left."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error)
