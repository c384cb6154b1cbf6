"""Ray, of this machine or of a cluster, and jobs side by side on it.

Ray is imported here and in the sweep only, when it is needed. It sends what it runs in pickles of its own between its
own processes; only plain values travel. Its servers ask for no password: those of a Ray that is started here listen on
the loopback alone.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

from dnal.base.errors import UserError
from dnal.base.side_by_side import PATIENCE, STOPPED, Left

J = TypeVar("J")

STORE = 100 * 2**20
"""Bytes of Ray's store of objects on one machine; by default it takes a third of the memory, and jobs put nothing
there."""
CONNECTING = 10.0
"""Seconds for a cluster to take a connection."""
LOCAL = "local"
"""Ray's own word for a Ray of this machine alone."""
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""So Ray itself keeps to the loopback on those systems; the variable is read on any. As an address for its servers it
takes any but 127.0.0.1."""
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table even where it is to be silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}


@dataclass(frozen=True)
class Machines:
    """What Ray has: cores and GPUs in all, and the cores of the largest machine."""

    cores: int
    largest: int
    gpus: int

    def gpu(self, at_once: int) -> float:
        """The part of a GPU that each of so many jobs at once gets; one stays on one GPU."""
        return 1 / math.ceil(at_once / self.gpus) if self.gpus else 0.0


@contextmanager
def connected(address: str | None, what: str, needs: Sequence[str] = ("ray",)) -> Iterator[Machines]:
    """Ray on this machine, or the cluster at an address or at RAY_ADDRESS.

    Args:
        what: runs on Ray, in a sentence. needs: modules of Ray that are imported.

    Raises:
        UserError: Ray is not installed, cannot start, or does not answer.
    """
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    for name, value in (QUIET | (LOOPBACK if address == LOCAL else {})).items():
        os.environ.setdefault(name, value)
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE} if address == LOCAL else {}
    with _signals_kept():
        try:
            for module in needs:
                import_module(module)
        except ImportError as error:
            raise UserError(f"{what} runs on Ray ({error}); install it with: pip install 'dnal[ray]'") from None
    ray: Any = import_module("ray")
    _check_answers(address, what)
    with _without("ray._private.worker", "print_to_stdstream"):
        try:
            try:
                # Off, Ray's dashboard is a process all the same, which asks the clouds whether it runs in one of them.
                with _signals_kept(), _without("ray._private.node.Node", "start_api_server"):
                    ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **local)
            except Exception as error:  # of Ray's own processes: whatever they lack, it is a sentence of theirs
                raise (_no_start(error) if address == LOCAL else _no_answer(address, error)) from None
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            cores = [int(node.get("CPU", 0)) for node in nodes]
            yield Machines(max(1, sum(cores)), max(1, *cores), int(sum(node.get("GPU", 0) for node in nodes)))
        finally:
            ray.shutdown()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray hears SIGTERM itself from its import on, and ends the program; who asked to hear it goes on hearing it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _without(owner: str, name: str) -> Iterator[None]:
    """Ray without a function of its own that does what no option leaves out, such as printing that a process was killed
    where only our answer is to stand. A version that has none is as it is."""
    found: Any = None
    with suppress(ImportError, AttributeError):
        found = resolve_name(owner)
    own = getattr(found, name, None)
    if own is None:
        yield
        return
    setattr(found, name, lambda *given, **named: None)
    try:
        yield
    finally:
        setattr(found, name, own)


def _check_answers(address: str, what: str) -> None:
    """Ray itself would try for minutes."""
    if "://" in address:
        raise UserError(f"{what} is called on a machine of the cluster, not through '{address}'; there, give auto.")
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECTING).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_answer(address, error) from None


def _no_start(error: Exception) -> UserError:
    return UserError(
        f"Ray cannot start on this machine ({reason(error)}); free what it lacks (its place is '{place()}', or "
        "RAY_TMPDIR), or give the --address of a Ray that runs."
    )


def _no_answer(address: str, error: Exception) -> UserError:
    return UserError(
        f"no Ray answers at '{address}' ({reason(error)}); start it there, or leave --address and RAY_ADDRESS out."
    )


def place() -> Path:
    """Where Ray keeps what it needs."""
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"


def reason(error: Exception) -> str:
    """What Ray says of an error, in a line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def side_by_side_on_ray(
    work: Callable[..., str],
    jobs: Sequence[J],
    *,
    arguments: Callable[[J], tuple[Any, ...]],
    at_once: int,
    gpu: float,
    stop: Callable[[], bool],
    ended: Callable[[J, str], None],
    ready: Callable[[J], bool] = lambda job: True,
    weight: Callable[[J], float] = lambda job: 0.0,
) -> Left[J]:
    """Does jobs on the Ray that is :func:`connected`, so many at once: a core and so much of a GPU each.

    The rest is as for :func:`dnal.base.side_by_side.side_by_side`, except that jobs in progress do not hear of a stop.
    Ray itself begins none again.

    Raises:
        UserError: Ray itself failed.
    """
    import ray

    far: Any = ray.remote(num_cpus=1, num_gpus=gpu, max_retries=0)(_far)
    lost = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError)
    waiting, running, killed, stopped = list(jobs), dict[Any, J](), False, False
    try:
        while waiting or running:
            stopped = stopped or stop()
            able = sorted(filter(ready, waiting), key=weight, reverse=True)
            for job in able[: 0 if stopped or killed else at_once - len(running)]:
                waiting.remove(job)
                running[far.remote(work, str(Path.cwd()), arguments(job))] = job
            if not running:
                break
            done, _ = ray.wait(list(running), timeout=PATIENCE)
            for one in done:
                job = running.pop(one)
                try:
                    answer = ray.get(one)
                except lost:
                    killed = True
                    waiting.append(job)
                    continue
                except ray.exceptions.RayTaskError as error:
                    raise (error.cause or error) from None
                if answer == STOPPED:
                    waiting.append(job)
                    continue
                ended(job, answer)
    except ray.exceptions.RayError as error:
        raise UserError(
            f"Ray failed in the middle ({reason(error)}); see to that (its place is '{place()}', or RAY_TMPDIR), then "
            "the same command goes on."
        ) from error
    return Left(waiting, killed)


def _far(work: Callable[..., str], directory: str, arguments: tuple[Any, ...]) -> str:
    """The work where Ray put it, which is another directory, and perhaps another machine."""
    with suppress(OSError):  # it is not there: then no name of a file that is asked for is meant to be in it
        os.chdir(directory)
    return work(*arguments)
