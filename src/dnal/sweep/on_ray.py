"""Running trials on Ray Tune: it places them on cores, GPUs and machines, and tries again what ended early.

Ray is imported here only, when it is needed. It sends what it runs in pickles of its own between its own processes;
of a sweep only plain values travel, and nothing of Ray's stays in its folder. Its servers ask for no password:
those of a Ray that is started here listen on the loopback alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dnal.base.errors import UserError
from dnal.sweep.attempt import Task, attempt
from dnal.sweep.share import Machines, Share

RETRIES = 3
"""How often a trial that ended early is gone on with, before it counts as failed."""
STORE = 100 * 2**20
"""Bytes of Ray's store of objects on one machine; by default it takes a third of the memory, and trials put nothing
there."""
PATIENCE = 10.0
"""Seconds for a cluster to take a connection."""
STORAGE = ".ray"
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

Hook = Callable[[str], None]


@contextmanager
def connected(address: str | None) -> Iterator[Machines]:
    """Ray on this machine, or the cluster at an address or at RAY_ADDRESS.

    Raises:
        UserError: Ray is not installed, cannot start, or does not answer.
    """
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    for name, value in (QUIET | (LOOPBACK if address == LOCAL else {})).items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray import tune  # noqa: F401 (has requirements of its own)
    except ImportError as error:
        raise UserError(f"a sweep runs on Ray Tune ({error}); install it with: pip install 'dnal[ray]'") from None
    _check_answers(address)
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE} if address == LOCAL else {}
    try:
        try:
            with _without_dashboard():
                ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **local)
        except Exception as error:  # of Ray's own processes: whatever they lack, it is a sentence of theirs
            raise (_no_start(error) if address == LOCAL else _no_answer(address, error)) from None
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cores = [int(node.get("CPU", 0)) for node in nodes]
        yield Machines(max(1, sum(cores)), max(1, *cores), int(sum(node.get("GPU", 0) for node in nodes)))
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    if "://" in address:
        raise UserError(f"a sweep is called on a machine of the cluster, not through '{address}'; there, give auto.")
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_answer(address, error) from None


@contextmanager
def _without_dashboard() -> Iterator[None]:
    """Off, Ray's dashboard is a process all the same, which asks the clouds whether it runs in one of them."""
    from ray._private.node import Node

    start = getattr(Node, "start_api_server", None)
    if start is None:
        yield
        return
    Node.start_api_server = lambda self, **options: None
    try:
        yield
    finally:
        Node.start_api_server = start


def _no_start(error: Exception) -> UserError:
    return UserError(
        f"Ray cannot start on this machine ({_reason(error)}); free what it lacks (its place is '{_place()}', or "
        "RAY_TMPDIR), or give the --address of a Ray that runs."
    )


def _no_answer(address: str, error: Exception) -> UserError:
    return UserError(
        f"no Ray answers at '{address}' ({_reason(error)}); start it there, or leave --address and RAY_ADDRESS out."
    )


def _place() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def run(
    tasks: Mapping[str, Task], share: Share, folder: Path, *, ended: Hook, again: Hook, between: Callable[[], None]
) -> None:
    """Runs every trial to its end.

    Args:
        tasks: by the trials' names.
        folder: of the sweep, which all machines see.
        ended, again: called with the name of a trial that is over, and of one that ended early and is gone on with.
        between: called some times a second; what it raises ends the sweep. Out of Ray's own code no exception of a
            signal's handler would come whole.

    Raises:
        UserError: Ray itself failed, of a full disk for example.
    """
    from ray import tune

    logging.getLogger("ray").setLevel(logging.CRITICAL)  # the caller reports what happens to a trial
    storage = folder.resolve() / STORAGE
    shutil.rmtree(storage, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(_trial, {"cpu": share.threads, "gpu": share.gpu}),
        param_space={"trial": tune.grid_search([{"name": name, "task": asdict(task)} for name, task in tasks.items()])},
        tune_config=tune.TuneConfig(max_concurrent_trials=share.at_once),
        run_config=tune.RunConfig(
            name=storage.name,
            storage_path=str(storage.parent),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[_callback(tune.Callback, ended, again, between)],
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"Ray failed in the middle ({_reason(error)}); see to that (its place is '{_place()}', or RAY_TMPDIR), "
            "then the same command goes on."
        ) from error
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _trial(config: dict[str, Any]) -> dict[str, Any]:
    return {"finished": attempt(Task(**config["trial"]["task"]))}


def _callback(base: type, ended: Hook, again: Hook, between: Callable[[], None]) -> Any:
    """An object that Tune tells what happens, made of a class of Tune's, which is not there before it is imported."""

    def calls(hook: Hook) -> Callable[..., None]:
        def method(self: object, iteration: int, trials: list[Any], trial: Any, **info: object) -> None:
            hook(trial.config["trial"]["name"])

        return method

    def step(self: object, **info: object) -> None:
        between()

    methods = {
        "on_step_begin": step,
        "on_trial_complete": calls(ended),
        "on_trial_error": calls(ended),
        "on_trial_recover": calls(again),
    }
    return type("Hooks", (base,), methods)()
