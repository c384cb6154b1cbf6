"""Runs that are compared: which of those in a folder was asked for, and which were made to tell whether it paid.

The config.yaml of the first names the methods of the others, whose folders stand beside it under these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dnal.base.errors import UserError
from dnal.pipeline.against import folder_of
from dnal.run.config import read_yaml
from dnal.run.files import CONFIG, runs_in

AGAINST = "against"
MOST = 64
"""Methods that one run is compared with."""


class Compared(NamedTuple):
    """A run, and by the names of their methods the runs that it is compared with, in the order asked for; those that
    are not there are left out."""

    run: Path
    others: dict[str, Path]


def comparisons(runs: Mapping[Path, object]) -> list[Compared]:
    """The comparisons among runs, whose config.yaml may be anybody's: by folder."""
    found = []
    for run, settings in runs.items():
        names = named_in(settings)
        if names:
            places = {name: run.parent / folder_of(name) for name in names}
            found.append(Compared(run, {n: place for n, place in places.items() if place in runs and place != run}))
    return found


def named_in(settings: object) -> list[str]:
    """The methods that a run was to be compared with."""
    names = settings.get(AGAINST) if isinstance(settings, Mapping) else None
    listed = names if isinstance(names, Sequence) and not isinstance(names, str) else []
    return [name for name in listed[:MOST] if isinstance(name, str)]


def settings_of(folders: Iterable[Path]) -> dict[Path, object]:
    """config.yaml of each run; what cannot be read says nothing here."""
    found: dict[Path, object] = {}
    for folder in folders:
        with suppress(UserError):
            found[folder] = read_yaml(folder)
    return found


def asked_for(folder: Path) -> Path:
    """The run itself, or of a folder of runs that are compared the one that was asked for."""
    if (folder / CONFIG).exists() or not folder.is_dir():
        return folder
    found = comparisons(settings_of(runs_in(folder)))
    return found[0].run if len(found) == 1 else folder
