"""`dnal grow`: a larger network instead of a smaller one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dnal.cli import options
from dnal.cli.beginning import begin, check_numbers
from dnal.cli.errors import errors_as_sentences
from dnal.cli.from_options import given, taking
from dnal.cli.job import JobRequest, given_options
from dnal.cli.options import LEARNING, NETWORK
from dnal.loggers import check
from dnal.settings import Deployment, Growths, Numerics, Source, Training

GROWS, PLACE = "How it grows", "Where it will run"
"""Headings of the options in the help."""


@taking({Source: NETWORK, Growths: GROWS, Deployment: PLACE, Training: LEARNING, Numerics: LEARNING})
@errors_as_sentences
def grow(
    ctx: typer.Context,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="B",
            help="What the grown network may cost, above what the network costs: params, macs or both, such as "
            "'params<=400%' or 'macs<=200M'. Default: params<=400%. Repeated: one run per budget from one base.",
            rich_help_panel=GROWS,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:KEY=VALUE,...]",
            help="Which neurons come, with its options: tiny, gradmax, random-neurons. Default: tiny.",
            rich_help_panel=GROWS,
        ),
    ] = None,
    with_: options.With = None,
    without: options.Without = None,
    devices: options.Devices = None,
    nodes: options.Nodes = None,
    strategy: options.Strategy = "auto",
    out: options.Out = None,
    overwrite: options.Overwrite = False,
    checkpoint_every: options.CheckpointEvery = 200,
    log_to: options.LogTo = None,
    report: options.Report = True,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    **own: Any,
) -> None:
    """Grow a network: add the neurons that its loss misses most, and train, until a budget is used up."""
    check_numbers(devices, nodes, checkpoint_every)
    check(log_to or [])
    values, asked = given_options(ctx.params), given(Growths, ctx.params)
    from dnal.methods import METHODS
    from dnal.methods.growing import grower

    values["method"] = METHODS.values(grower(method or "tiny", **asked))
    begin(
        JobRequest.of(values), out, overwrite=overwrite, watchers=(), devices=devices, nodes=nodes, strategy=strategy,
        log_to=log_to, report=report, quiet=quiet, as_json=as_json,
    )  # fmt: skip
