"""Layer measurements on disk, one file per device, backend, library versions and threads.

Nothing needs them: where they cannot be read or written, a warning says so, and the layers are timed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from dnal.base.atomic import refusal, temporary_files, write_text
from dnal.base.errors import UserError
from dnal.base.reading import json_of
from dnal.latency.backends.backend import Backend

LARGEST = 2**25
"""Bytes of a file: tens of thousands of layers."""
LONGEST_MS = 1e9
ABANDONED = 3600
"""Seconds after which a temporary file is left over: another process may be writing."""
AGAIN = "its times are measured again"

Milliseconds = list[float] | None
"""At every point where a layer was timed; None where it cannot run by itself."""


def directory() -> Path:
    """$XDG_CACHE_HOME/dnal, or ~/.cache/dnal.

    Raises:
        UserError: it is not known where that is.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "dnal"
    except RuntimeError:
        raise UserError("this user has no home; set XDG_CACHE_HOME to a folder that can be written.") from None


class Cache:
    """Milliseconds by a text that says what was timed; ``save`` makes them last."""

    def __init__(self, backend: Backend, place: Path | None = None) -> None:
        self._where = {
            "backend": backend.name,
            "device": backend.device,
            "versions": backend.versions,
            "threads": backend.threads,
        }
        self._told = self._new = False
        self._ms: dict[str, Milliseconds] = {}
        digest = hashlib.sha256(json.dumps(self._where, sort_keys=True).encode()).hexdigest()[:16]
        self.path: Path | None = None
        try:
            self.path = (place or directory()) / f"latency-{backend.name}-{digest}.json"
            self._ms = self._read(self.path)
        except UserError as error:
            self._tell(error)

    def knows(self, key: str, points: int) -> bool:
        """Whether what it has of this key is of so many points."""
        if key not in self._ms:
            return False
        ms = self._ms[key]
        return ms is None or len(ms) == points

    def __getitem__(self, key: str) -> Milliseconds:
        return self._ms[key]

    def __setitem__(self, key: str, ms: Milliseconds) -> None:
        self._ms[key] = ms
        self._new = True

    def save(self) -> None:
        """Adds the new entries to the file; another process that writes meanwhile keeps its own ones or ours."""
        if not self._new or self.path is None:
            return
        self._new = False
        others: dict[str, Milliseconds] = {}
        with suppress(UserError):  # said when it was read first, or it was damaged since
            others = self._read(self.path)
        text = self._text({**others, **self._ms})
        if len(text) > LARGEST:
            text = self._text(self._ms)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._clear(self.path)
            write_text(self.path, text)
        except OSError as error:
            self._tell(UserError(f"'{self.path.parent}' cannot be made ({refusal(error)})."))
        except UserError as error:
            self._tell(error)

    def _text(self, layers: dict[str, Milliseconds]) -> str:
        return json.dumps({**self._where, "layers": layers}, separators=(",", ":"))

    def _tell(self, error: UserError) -> None:
        """Once: who has a full disk need not hear of it twice."""
        if not self._told:
            warnings.warn(f"the times of layers are not kept: {error}", stacklevel=3)
        self._told = True

    def _read(self, path: Path) -> dict[str, Milliseconds]:
        """What the file holds; nothing, where there is none.

        Raises:
            UserError: it cannot be read, or is none of ours.
        """
        if not _there(path):
            return {}
        document = json_of(path, LARGEST, remedy=AGAIN)
        layers = document.get("layers") if isinstance(document, dict) else None
        if not isinstance(layers, dict):
            raise UserError(f"'{path}' holds no times; {AGAIN}.")
        return {key: ms for key, ms in layers.items() if _is_measurement(ms)}

    @staticmethod
    def _clear(path: Path) -> None:
        """What was killed while it wrote left a file behind."""
        for left in temporary_files(path.parent, [path.name]):
            with suppress(OSError):
                if time.time() - left.lstat().st_mtime > ABANDONED:
                    left.unlink()


def _there(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a name that no system takes
        return True


def _is_measurement(ms: Any) -> bool:
    # Python reads 1e999 as infinity, and whole numbers that no float holds; neither is below a bound.
    return ms is None or (
        isinstance(ms, list)
        and all(isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= LONGEST_MS for v in ms)
    )
