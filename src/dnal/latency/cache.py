"""Layer measurements on disk, one file per device, backend, library versions and threads."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from dnal.latency.backends.backend import Backend


def directory() -> Path:
    """$XDG_CACHE_HOME/dnal, or ~/.cache/dnal."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "dnal"


class Cache:
    """Milliseconds by a text that says what was timed; ``save`` makes them last."""

    def __init__(self, backend: Backend, place: Path | None = None) -> None:
        self._where = {
            "backend": backend.name,
            "device": backend.device,
            "versions": backend.versions,
            "threads": backend.threads,
        }
        digest = hashlib.sha256(json.dumps(self._where, sort_keys=True).encode()).hexdigest()[:16]
        self.path = (place or directory()) / f"latency-{backend.name}-{digest}.json"
        self._ms: dict[str, list[float] | None] = self._read()
        self._new = False

    def __contains__(self, key: str) -> bool:
        return key in self._ms

    def __getitem__(self, key: str) -> list[float] | None:
        return self._ms[key]

    def __setitem__(self, key: str, ms: list[float] | None) -> None:
        self._ms[key] = ms
        self._new = True

    def save(self) -> None:
        """Adds the new entries to the file; another process that writes meanwhile keeps its own ones or ours."""
        if not self._new:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        document = {**self._where, "layers": {**self._read(), **self._ms}}
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as file:
            json.dump(document, file, separators=(",", ":"))
        Path(file.name).replace(self.path)
        self._new = False

    def _read(self) -> dict[str, list[float] | None]:
        try:
            layers = json.loads(self.path.read_text(encoding="utf-8"))["layers"]
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or not ours: it is measured again
            return {}
        return {key: ms for key, ms in layers.items() if _is_measurement(ms)} if isinstance(layers, dict) else {}


def _is_measurement(ms: Any) -> bool:
    return ms is None or (isinstance(ms, list) and all(isinstance(value, (int, float)) and value >= 0 for value in ms))
