"""`dnal learn`: the main job, from a name to a smaller ordinary network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnal.base.errors import UserError
from dnal.budget import Budget
from dnal.cli import options
from dnal.cli.errors import told
from dnal.cli.job import Job
from dnal.loggers import check
from dnal.plan import DEFAULT_BUDGET

if TYPE_CHECKING:
    from dnal.train.listener import Listener

BATCH_SIZE = 64
LONGEST_PART = 80
"""Of the name of a run: three of them are a name that every file system takes."""
NETWORK, BUDGET, LEARNING, PLACE, RUN = "Network and data", "Budget and widths", "Learning", "Processes", "The run"
"""Headings of the options in the help."""


@told
def learn(
    ctx: typer.Context,
    model: Annotated[
        str, typer.Option(metavar="M", help="A name of `dnal models`.", rich_help_panel=NETWORK)
    ] = "vgg_small",
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W",
            help="pretrained, or a .safetensors file: start from a trained network.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input", metavar="C,H,W", help="Image size; default: the model's or the images'.", rich_help_panel=NETWORK
        ),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(metavar="N", help="Default: what the data tell.", rich_help_panel=NETWORK)
    ] = None,
    data: Annotated[
        str, typer.Option(metavar="D", help="A name of `dnal data`, an .npz file, a folder.", rich_help_panel=NETWORK)
    ] = "digits",
    root: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of the downloaded sets.", rich_help_panel=NETWORK)
    ] = None,
    limit_train: Annotated[
        int | None,
        typer.Option(metavar="N", help="Use only so many training images, stratified.", rich_help_panel=NETWORK),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="B",
            help="What the compact network may cost, such as 'macs<=30%' or 'params<=1.2M, latency<=3ms'; memory too; "
            f"default: {DEFAULT_BUDGET}, with the recipe paper none (its --lambda decides). Repeated: a trade-off, one "
            "run per budget from one base.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    deploy_batch: Annotated[
        int,
        typer.Option(
            metavar="N", help="Images at once, for which memory and latency are stated.", rich_help_panel=BUDGET
        ),
    ] = 1,
    backend: Annotated[str, typer.Option(metavar="B", help=options.BACKEND, rich_help_panel=BUDGET)] = "auto",
    least: Annotated[str, typer.Option(metavar="N|SHARE", help=options.LEAST, rich_help_panel=BUDGET)] = "1",
    multiple: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Widths are multiples of it; auto: what --backend computes fastest. Default: auto where the budget "
            "bounds the latency, else 1.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    depth: Annotated[
        bool | None,
        typer.Option(
            "--depth/--no-depth", help=f"{options.DEPTH} Default: in the recipe budget.", rich_help_panel=BUDGET
        ),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="P", help=options.INCLUDE, rich_help_panel=BUDGET)
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="P", help=options.EXCLUDE, rich_help_panel=BUDGET)
    ] = None,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="Who chooses; `dnal methods` lists all.", rich_help_panel=LEARNING)
    ] = "dnal",
    recipe: Annotated[
        str, typer.Option(metavar="budget|paper", help="How the architecture is learned.", rich_help_panel=LEARNING)
    ] = "budget",
    lambda_: Annotated[
        float | None,
        typer.Option("--lambda", metavar="X", help="Weight of the cost; recipe paper only.", rich_help_panel=LEARNING),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="trained|fresh",
            help="Which weights are retrained: those left, or new ones; default: what the method is made for.",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    epochs: Annotated[
        str | None,
        typer.Option(
            metavar="N|E1,E2,E3", help="In all, or for base, architecture and retraining.", rich_help_panel=LEARNING
        ),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(metavar="X", help="Learning rate of the weights.", rich_help_panel=LEARNING)
    ] = None,
    batch_size: Annotated[
        int, typer.Option(metavar="N", help="Images per step, over all processes.", rich_help_panel=LEARNING)
    ] = BATCH_SIZE,
    distil: Annotated[
        bool | None,
        typer.Option(
            "--distil/--no-distil",
            help="Whether the network before removal teaches the compact one.",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Equal seeds on one machine give equal results.", rich_help_panel=LEARNING)
    ] = 0,
    precision: Annotated[
        str,
        typer.Option(metavar="P", help=options.PRECISION, rich_help_panel=LEARNING),
    ] = "auto",
    workers: Annotated[
        int, typer.Option(metavar="N", help="Processes that prepare the images.", rich_help_panel=LEARNING)
    ] = 0,
    devices: Annotated[int | None, typer.Option(metavar="N", help=options.DEVICES, rich_help_panel=PLACE)] = None,
    nodes: Annotated[int | None, typer.Option(metavar="N", help=options.NODES, rich_help_panel=PLACE)] = None,
    strategy: Annotated[str, typer.Option(metavar="S", help=options.STRATEGY, rich_help_panel=PLACE)] = "auto",
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Repeat a run from its config.yaml; other options here take precedence.",
            rich_help_panel=RUN,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Folder of the run, or of the runs of several budgets; default: in runs/.",
            rich_help_panel=RUN,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run at --out.", rich_help_panel=RUN)
    ] = False,
    checkpoint_every: Annotated[
        int, typer.Option(metavar="N", help=options.CHECKPOINT_EVERY, rich_help_panel=RUN)
    ] = 200,
    log_to: Annotated[list[str] | None, typer.Option(metavar="L", help=options.LOG_TO, rich_help_panel=RUN)] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help=options.REPORT, rich_help_panel=RUN)] = True,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Learn a smaller architecture of a network on data, and train it. Without options: the whole job on digits."""
    job = Job.of(ctx.params)
    options.whole("--devices", devices)
    options.whole("--nodes", nodes)
    check(log_to or [])
    watchers: list[Listener] = []
    if like is not None:
        from dnal.cli.like import repeated

        sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
        given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
        job, differences = repeated(job, like, given)
        watchers.append(differences)
    job.check()
    from dnal.cli.network import input_of
    from dnal.cli.processes import launched
    from dnal.cli.running import run
    from dnal.run import check_free

    names = [job.recipe if budget is None else str(Budget.parse(budget)) for budget in job.bounds]
    input_of(job.model, job.input)  # an unknown model is told before anything is started
    folders = _folders(job, names, out, overwrite=overwrite)
    for folder in folders:
        check_free(folder, overwrite=overwrite)
    fabric = launched(devices, nodes, strategy, job.precision, job.batch_size)
    if fabric is not None:
        folders = fabric.broadcast(folders)
    run(
        job,
        folders,
        fabric,
        overwrite=overwrite,
        watchers=watchers,
        log_to=log_to or [],
        report=report,
        quiet=quiet,
        as_json=as_json,
    )


def _folders(job: Job, names: list[str], out: Path | None, *, overwrite: bool) -> list[Path]:
    """The folder of each run: of one, --out itself; of several, a folder in it that is named by the budget."""
    from dnal.run.files import CONFIG
    from dnal.run.trade_off import check_not_begun

    slugs = [] if len(names) == 1 else list(map(_slug, names))
    name = names[0] if len(names) == 1 else "trade_off"
    folder = out or _default_out((job.model, job.data, name), job.seed, slugs, free=not overwrite)
    if len(names) == 1:
        return [folder]
    if (folder / CONFIG).exists():
        raise UserError(f"'{folder}' is a run, and several budgets make a run each; choose another folder with --out.")
    if not overwrite:
        check_not_begun(folder)
    return [folder / slug for slug in slugs]


def _slug(text: str) -> str:
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
    name = "-".join(_slug(part)[:LONGEST_PART] for part in (model, data, budget)) + f"-s{seed}"
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
