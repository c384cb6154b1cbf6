"""`dnal sparsify`: few weights instead of few channels."""

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
from dnal.settings import Deployment, Numerics, Source, Tickets, Training

STAYS, PLACE = "What stays", "Where it will run"
"""Headings of the options in the help."""


@taking({Source: NETWORK, Tickets: STAYS, Deployment: PLACE, Training: LEARNING, Numerics: LEARNING})
@errors_as_sentences
def sparsify(
    ctx: typer.Context,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:KEY=VALUE,...]",
            help="Which weights stay, with its options: magnitude, layer-magnitude, random, gradual, edge-popup. "
            "Default: magnitude.",
            rich_help_panel=STAYS,
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
    """Keep few weights of a network and hold the others at zero; channels that become empty are removed."""
    check_numbers(devices, nodes, checkpoint_every)
    check(log_to or [])
    values, asked = given_options(ctx.params), given(Tickets, ctx.params)
    from dnal.methods import METHODS
    from dnal.methods.sparsity import sparsifier

    values["method"] = METHODS.values(sparsifier(method or "magnitude", **asked))
    begin(
        JobRequest.of(values), out, overwrite=overwrite, watchers=(), devices=devices, nodes=nodes, strategy=strategy,
        log_to=log_to, report=report, quiet=quiet, as_json=as_json,
    )  # fmt: skip
