"""`dnal learn`: the main job, from a name to a smaller ordinary network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnal.base.errors import UserError
from dnal.cli import options
from dnal.cli.beginning import begin, check_numbers
from dnal.cli.errors import errors_as_sentences
from dnal.cli.from_options import taking
from dnal.cli.job import JobRequest, given_options
from dnal.cli.options import LEARNING, NETWORK, RUN
from dnal.loggers import check
from dnal.settings import DEFAULT_BUDGET, Comparison, Deployment, Numerics, Source, Training, Widths

if TYPE_CHECKING:
    from dnal.train.listener import Listener

BUDGET = "Budget and widths"
"""A heading of the options in the help."""


@taking(
    {
        Source: NETWORK,
        Widths: BUDGET,
        Deployment: BUDGET,
        Training: LEARNING,
        Numerics: LEARNING,
        Comparison: LEARNING,
    }
)
@errors_as_sentences
def learn(
    ctx: typer.Context,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="B",
            help="What the compact network may cost, such as 'macs<=30%' or 'params<=1.2M, latency<=3ms'; memory too; "
            f"default: {DEFAULT_BUDGET}, except for methods that need none. Repeated: a trade-off, one run per budget "
            "from one base.",
            rich_help_panel=BUDGET,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:KEY=VALUE,...]",
            help="What chooses, with its options; `dnal methods` lists all. Default: dnal, and obs with --weights.",
            rich_help_panel=LEARNING,
        ),
    ] = None,
    with_: options.With = None,
    without: options.Without = None,
    devices: options.Devices = None,
    nodes: options.Nodes = None,
    strategy: options.Strategy = "auto",
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Repeat a run from its config.yaml; other options here take precedence.",
            rich_help_panel=RUN,
        ),
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"Of --like, you trust {options.TRUST}", rich_help_panel=RUN),
    ] = None,
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    checkpoint_every: options.CheckpointEvery = 200,
    log_to: options.LogTo = None,
    report: options.Report = True,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    **own: Any,
) -> None:
    """Learn a smaller architecture of a network on data, and train it. Without options: the whole job on digits."""
    values = given_options(ctx.params)
    check_numbers(devices, nodes, checkpoint_every)
    check(log_to or [])
    watchers: list[Listener] = []
    if like is None:
        if trust:
            raise UserError("--trust says what of --like RUN may be run; without --like leave it out.")
        job = JobRequest.of(values)
    else:
        from dnal.cli.like import repeated

        job, differences = repeated(values, like, trust or ())
        watchers.append(differences)
    begin(
        job, out, overwrite=overwrite, watchers=watchers, devices=devices, nodes=nodes, strategy=strategy,
        log_to=log_to, report=report, quiet=quiet, as_json=as_json,
    )  # fmt: skip
