"""What a reader did that it should not, and how much memory it took."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import dnal

LAUNCHES = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "pickle.find_class")
"""Audit events of code that is run, and of machines that are asked."""
CHANGES = (
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.rename",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.truncate",
    "os.utime",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Python's audit events while something is tried: in ``loading`` a process, a connection, a foreign module, a file
    outside the run's folder; in a ``zone`` also what is changed outside it, where files may be read anywhere."""

    def __init__(self) -> None:
        self.run: Path | None = None
        self.zone: str | None = None
        self.seen: list[str] = []
        self._own = tuple(str(Path(p).resolve()) for p in (sys.prefix, sys.base_prefix, Path(dnal.__file__).parent))
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.run is not None:
            self._hear_loading(event, args)
        elif self.zone is not None:
            self._hear_in_zone(event, args)

    def _hear_loading(self, event: str, args: tuple[Any, ...]) -> None:
        if event in (*LAUNCHES, "os.fork", "os.mkdir"):
            self.seen.append(event)
        elif event == "open" and isinstance(args[0], (str, bytes)):
            path = Path(os.path.abspath(os.fsdecode(args[0])))  # noqa: PTH100 (links are not to be followed here)
            inside = path.parent == self.run or str(path).startswith((*self._own, "/proc/self", "/proc/cpuinfo"))
            if not inside:
                self.seen.append(f"open {path}")

    def _hear_in_zone(self, event: str, args: tuple[Any, ...]) -> None:
        if event in LAUNCHES:
            what = f" {args[0]}.{args[1]}" if event == "pickle.find_class" else ""
            self.seen.append(f"{event}{what}")
        elif event == "import" and str(args[0]).startswith("writes_a_marker"):
            self.seen.append(f"import {args[0]}")
        elif event == "open":
            if isinstance(args[0], (str, bytes)) and isinstance(args[2], int) and args[2] & WRITING:
                self._changed("write", args[0])
        elif event in CHANGES:
            for path in args[:2] if event in ("os.rename", "os.link") else args[:1]:
                if isinstance(path, (str, bytes, os.PathLike)):
                    self._changed(event, path, follow=event in ("os.truncate", "os.chmod"))

    def _changed(self, event: str, given: Any, *, follow: bool = True) -> None:
        zone, self.zone = self.zone, None  # looking up links is heard too
        try:
            path = os.fsdecode(given)
            folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100
            real = os.path.realpath(path) if follow else os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
        except ValueError:
            return
        finally:
            self.zone = zone
        if zone is not None and not real.startswith((f"{zone}/", "/dev/null", "/dev/tty", "/proc/")) and real != zone:
            self.seen.append(f"{event} {real}")


def peak_of(act: Callable[[], object]) -> int:
    """Bytes of memory at the worst moment of an act, beyond what there was before. Linux only."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    act()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return 1024 * int(line.split()[1])


def attempt(run: Path, watch: Watch, trust: tuple[str, ...] = ()) -> str | None:
    """What loading says: None where it loads, else the sentence; anything else is an error of this project."""
    watch.run = Path(os.path.abspath(run))  # noqa: PTH100
    watch.seen.clear()
    try:
        dnal.load(run, trust=trust)
    except dnal.UserError as error:
        return str(error)
    finally:
        watch.run = None
    return None


def one_sentence(text: str) -> bool:
    return text.isprintable() and 20 < len(text) <= 2100 and "Traceback" not in text
