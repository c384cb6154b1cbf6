"""From a job to its run folders: what the commands that begin one have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dnal.base.errors import UserError
from dnal.cli import options
from dnal.cli.job import JobRequest
from dnal.costs.budget import Budget

if TYPE_CHECKING:
    from dnal.train.listener import Listener

LONGEST_PART = 80
"""Of the name of a run: three of them are a name that every file system takes."""


def check_numbers(devices: int | None, nodes: int | None, checkpoint_every: int) -> None:
    """Refuses numbers that no job can have.

    Raises:
        UserError: naming the option.
    """
    options.within(options.COUNT, "--devices", devices)
    options.within(options.COUNT, "--nodes", nodes)
    options.within(options.COUNT, "--checkpoint-every", checkpoint_every)


def begin(
    job: JobRequest,
    out: Path | None,
    *,
    overwrite: bool,
    watchers: Sequence[Listener],
    devices: int | None,
    nodes: int | None,
    strategy: str,
    log_to: Sequence[str] | None,
    report: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Checks a job as far as it goes, finds its folders, and runs it; arguments as of the command line.

    Raises:
        UserError: for input that cannot work.
    """
    job = job.check()
    from dnal.cli.network import input_of
    from dnal.cli.processes import launched
    from dnal.cli.running import run
    from dnal.pipeline.asked import warn_of_blocks
    from dnal.run import check_free

    warn_of_blocks(job.asked())
    names = _names(job)
    input_of(job.source.model, job.source.input)  # an unknown model is an error before anything is started
    folders = _folders(job, names, out, overwrite=overwrite)
    for folder in folders:
        check_free(folder, overwrite=overwrite)
    fabric = launched(devices, nodes, strategy, job.numerics.precision, job.source.batch_size)
    if fabric is not None:
        folders = fabric.broadcast(folders)
    run(
        [job],
        folders,
        fabric,
        overwrite=overwrite,
        watchers=watchers,
        log_to=log_to or [],
        report=report,
        quiet=quiet,
        as_json=as_json,
    )


def _names(job: JobRequest) -> list[str]:
    """What the runs of a job differ in: their budgets, or, of those that are compared, their methods."""
    from dnal.methods import METHODS

    others = job.comparison.against
    if others:
        return [METHODS.text(job.asked().method), *others]
    return [_called(job) if budget is None else str(Budget.parse(budget)) for budget in job.bounds]


def _called(job: JobRequest) -> str:
    """What stands for the budget in the name of a run without one: the default, or the method that needs none."""
    method = job.asked().method
    if method.needs_budget:
        return method.default_budget
    from dnal.methods import METHODS

    return METHODS.name_of(method)


def _folders(job: JobRequest, names: list[str], out: Path | None, *, overwrite: bool) -> list[Path]:
    """The folder of each run: of one, --out itself; of several, a folder in it that is named by the budget or the
    method."""
    from dnal.models import called
    from dnal.pipeline.against import folder_of
    from dnal.run.files import CONFIG
    from dnal.run.trade_off import check_not_begun

    compared = bool(job.comparison.against)
    slugs = [] if len(names) == 1 else list(map(folder_of if compared else slug, names))
    name = (
        f"{job.bounds[0] or job.asked().method.default_budget} against"
        if compared
        else names[0]
        if len(names) == 1
        else "trade_off"
    )
    place = (called(job.source.model), job.source.data, name)
    folder = out or _default_out(place, job.training.seed, slugs, free=not overwrite)
    if len(names) == 1:
        return [folder]
    if (folder / CONFIG).exists():
        what = "methods" if compared else "budgets"
        raise UserError(f"'{folder}' is a run, and several {what} make a run each; choose another folder with --out.")
    if not overwrite:
        check_not_begun(folder)
    return [folder / slug for slug in slugs]


def slug(text: str) -> str:
    """A name for folders."""
    text = text.replace("<=", "").replace("%", "pct")
    return re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("_.")


def _default_out(parts: tuple[str, str, str], seed: int, slugs: list[str], *, free: bool) -> Path:
    """runs/MODEL-DATA-BUDGET-sSEED; if it must be free, with -2, -3, ... where that is taken.

    Args:
        slugs: the folders in it, of a trade-off.
    """
    from dnal.run.files import RUNS

    model, data, budget = parts
    data = Path(data).stem if data.endswith(".npz") else Path(data).name
    name = "-".join(slug(part)[:LONGEST_PART] for part in (model, data, budget)) + f"-s{seed}"
    folder, number = RUNS / name, 1
    while free and _taken(folder, slugs):
        number += 1
        folder = RUNS / f"{name}-{number}"
    return folder


def _taken(folder: Path, slugs: list[str]) -> bool:
    """Whether more stands there than what starts left that were killed before anything was begun."""
    from dnal.run.writer import vacant

    if not folder.is_dir() or folder.is_symlink():
        return folder.exists() or folder.is_symlink()
    if not slugs:
        return not vacant(folder)
    return not all(entry.name in slugs and vacant(entry) for entry in folder.iterdir())
