"""A command in a process of its own, forked from one that has imported everything: what came of it, at what cost."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from damaged.watch import Watch, one_sentence

MOST_SECONDS, MOST_BYTES = 240.0, 3 * 2**30
"""Of wall clock and memory, after which a command is stopped."""

Try = list[str] | Callable[[], object]
"""Arguments of `dnal`, or something in Python."""


class Outcome(NamedTuple):
    """``status``: of the process, None where it was stopped. ``seconds``: on a processor; ``peak``: bytes of memory of
    the whole process. ``seen``: what :class:`Watch` saw."""

    status: int | None
    said: str
    seconds: float
    peak: int
    seen: list[str]

    @property
    def refused(self) -> bool:
        return self.status == 2

    @property
    def clean(self) -> bool:
        """It worked, or it said in sentences why not."""
        if self.status not in (0, 1, 2) or "Traceback" in self.said:
            return False
        if self.status == 0:
            return True
        told = [line for line in self.said.splitlines() if line.startswith("dnal: ")]
        return bool(told) and all(map(one_sentence, told))


def outcome_of(what: Try, folder: Path, watch: Watch) -> Outcome:
    """Runs it in ``folder``, which is also its home, with all that it may write."""
    out = folder.with_name(f"{folder.name}.out")
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        try:
            _be(what, folder, watch, out)
        finally:
            os._exit(99)
    begun, stopped, peak = time.monotonic(), False, 0
    while True:
        done, status, used = os.wait4(child, os.WNOHANG)
        if done:
            break
        peak = max(peak, _resident(child))
        if not stopped and (time.monotonic() - begun > MOST_SECONDS or peak > MOST_BYTES):
            stopped = True
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    seen_file = Path(f"{out}.seen")
    seen = json.loads(seen_file.read_text()) if seen_file.exists() else []
    seen_file.unlink(missing_ok=True)
    said = out.read_text(errors="replace")
    seconds = MOST_SECONDS if stopped else used.ru_utime + used.ru_stime
    code = None if stopped else os.waitstatus_to_exitcode(status)
    return Outcome(code, said, seconds, max(peak, 1024 * used.ru_maxrss), seen)


def _resident(process: int) -> int:
    try:
        return 4096 * int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _be(what: Try, folder: Path, watch: Watch, out: Path) -> None:
    """The child: never returns."""
    from dnal.base.errors import UserError
    from dnal.cli import main

    os.chdir(folder)
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    os.environ.update(HOME=str(folder), TMPDIR=str(temporary), XDG_CACHE_HOME=str(folder / "cache"))
    os.environ["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    tempfile.tempdir = None
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, own in ((0, nothing), (1, file), (2, file)):
        os.dup2(own, number)
    plain = {"write_through": True, "encoding": "utf-8"}
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0, closefd=False), **plain)  # type: ignore[call-overload]
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0, closefd=False), errors="backslashreplace", **plain)  # type: ignore
    watch.seen.clear()
    watch.zone = os.path.realpath(folder)
    code = 0
    try:
        if callable(what):
            what()
        else:
            sys.argv = ["dnal", *what]
            main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except UserError as error:
        print(f"dnal: {error}", file=sys.stderr)
        code = 2
    except BaseException:
        traceback.print_exc()
        code = 99
    watch.zone = None
    sys.stdout.flush()
    sys.stderr.flush()
    Path(f"{out}.seen").write_text(json.dumps(watch.seen))
    os._exit(code)
