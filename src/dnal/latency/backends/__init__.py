"""Where networks can be timed, by name; one file per runtime."""

from __future__ import annotations

from dnal.base.errors import UserError, suggestion
from dnal.latency.backends.backend import Backend
from dnal.latency.backends.onnxruntime_cpu import OnnxRuntimeCpu
from dnal.latency.backends.torch_backends import TorchCpu, TorchCuda

BACKENDS: dict[str, type[Backend]] = {kind.name: kind for kind in (TorchCpu, TorchCuda, OnnxRuntimeCpu)}


def backend_of(wanted: str | Backend) -> Backend:
    """The backend of this name; a backend of the user's own is taken as it is.

    Raises:
        UserError: on an unknown name, or where this machine cannot run it, with the remedy.
    """
    if isinstance(wanted, Backend):
        return wanted
    if wanted not in BACKENDS:
        raise UserError(f"unknown backend '{wanted}'; {suggestion(wanted, BACKENDS)}")
    return BACKENDS[wanted]()
