"""Ray, of this machine or of a cluster, and jobs side by side on it.

Ray is imported here and in the sweep only, when it is needed. It pickles what it sends between its own processes;
dnal gives it plain values only. Its servers ask for no password: those of a Ray that is started here listen on the
loopback alone.
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
"""Bytes of Ray's object store on one machine; by default it takes a third of the memory, and jobs put nothing there."""
CONNECTING = 10.0
"""Seconds within which a cluster must take a connection."""
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

    def gpu_share(self, at_once: int) -> float:
        """The part of a GPU that each of ``at_once`` jobs gets; a job never spans two GPUs. 0 without a GPU."""
        return 1 / math.ceil(at_once / self.gpus) if self.gpus else 0.0


@contextmanager
def connected(address: str | None, what: str, needs: Sequence[str] = ("ray",)) -> Iterator[Machines]:
    """Ray on this machine, or the cluster at an address or at RAY_ADDRESS.

    Args:
        address: of the cluster, as Ray writes it, "auto" or "local"; None: RAY_ADDRESS, or else this machine alone.
        what: what runs on Ray, as the subject of a sentence, such as "a sweep". needs: modules of Ray to import.

    Yields:
        What the machines have; Ray is shut down afterwards.

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
    """From its import on Ray handles SIGTERM itself and ends the program; this puts the handler from before back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _without(owner: str, name: str) -> Iterator[None]:
    """Ray with one of its own functions replaced by one that does nothing, where no option turns it off: such as the
    printing of killed processes, where only our answer may be printed. A version without that function is left as it
    is.

    Args:
        owner: module or class of Ray, by its full name. name: of the function in it.
    """
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
    """Refuses an address at which nothing answers; Ray itself would try for minutes."""
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
        f"Ray cannot start on this machine ({_reason(error)}); free what it lacks (its folder is '{_ray_folder()}', or "
        "RAY_TMPDIR), or give the --address of a Ray that runs."
    )


def failed(error: Exception) -> UserError:
    """The sentence for a Ray that failed while jobs were running."""
    return UserError(
        f"Ray failed in the middle ({_reason(error)}); see to that (its folder is '{_ray_folder()}', or RAY_TMPDIR), "
        "then the same command goes on."
    )


def _no_answer(address: str, error: Exception) -> UserError:
    return UserError(
        f"no Ray answers at '{address}' ({_reason(error)}); start it there, or leave --address and RAY_ADDRESS out."
    )


def _ray_folder() -> Path:
    """The folder in which Ray keeps its files while it runs."""
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"


def _reason(error: Exception) -> str:
    """The first line of an error of Ray's."""
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
    """Does jobs on the Ray that is :func:`connected`, ``at_once`` at a time, each on a core.

    The same as :func:`dnal.base.side_by_side.side_by_side`, except that jobs in progress are not told of a stop. Ray
    retries no job.

    Args:
        gpu: the part of a GPU that each job gets. All others: as there.

    Raises:
        UserError: Ray itself failed.
    """
    import ray

    task: Any = ray.remote(num_cpus=1, num_gpus=gpu, max_retries=0)(_on_worker)
    lost = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError)
    waiting, running, killed, stopped = list(jobs), dict[Any, J](), False, False
    try:
        while waiting or running:
            stopped = stopped or stop()
            able = sorted(filter(ready, waiting), key=weight, reverse=True)
            for job in able[: 0 if stopped or killed else at_once - len(running)]:
                waiting.remove(job)
                running[task.remote(work, str(Path.cwd()), arguments(job))] = job
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
        raise failed(error) from error
    return Left(waiting, killed)


def _on_worker(work: Callable[..., str], directory: str, arguments: tuple[Any, ...]) -> str:
    """Does the work in a worker of Ray's, which starts in another directory, and perhaps on another machine."""
    with suppress(OSError):  # a machine without this directory has no file in it that a relative path could mean
        os.chdir(directory)
    return work(*arguments)
