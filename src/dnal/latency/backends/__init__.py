"""Where networks can be timed; one file per runtime, imported when it is asked for."""

from __future__ import annotations

from dnal.base.errors import UserError, suggestion
from dnal.base.place import found_at
from dnal.latency.backends.backend import Backend
from dnal.settings import BACKENDS


def backend_of(wanted: str | Backend) -> Backend:
    """The backend of this name; a backend of the user's own is taken as it is.

    Raises:
        UserError: on an unknown name, or where this machine cannot run it, with the remedy.
    """
    if isinstance(wanted, Backend):
        return wanted
    if wanted not in BACKENDS:
        raise UserError(f"unknown backend '{wanted}'; {suggestion(wanted, BACKENDS)}")
    found: Backend = found_at(BACKENDS[wanted], "backend", wanted)()
    return found
