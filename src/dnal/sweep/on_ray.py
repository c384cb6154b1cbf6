"""Running trials on Ray Tune: it places them on cores, GPUs and machines, and tries again what ended early.

Tune is imported here only, when it is needed. Of a sweep only plain values travel, and nothing of Ray's stays in its
folder.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dnal.base import on_ray
from dnal.base.errors import UserError
from dnal.base.on_ray import Machines
from dnal.sweep.attempt import Task, attempt
from dnal.sweep.share import Share

RETRIES = 3
"""How often a trial that ended early is gone on with, before it counts as failed."""
STORAGE = ".ray"

Hook = Callable[[str], None]


def connected(address: str | None) -> AbstractContextManager[Machines]:
    """Ray with Tune, at an address as for :func:`dnal.base.on_ray.connected`, which says what is raised."""
    return on_ray.connected(address, "a sweep", needs=("ray", "ray.tune"))


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
        raise on_ray.failed(error) from error
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
