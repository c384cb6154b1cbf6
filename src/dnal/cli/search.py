"""`dnal search`: a network where there is none yet."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnal.base.errors import UserError
from dnal.base.options import arguments_of, options_of, values_of
from dnal.cli import options
from dnal.cli.display import json_document, line, table, teller
from dnal.cli.errors import Ended, errors_as_sentences, say
from dnal.cli.forms import check_form
from dnal.cli.from_options import given, taking
from dnal.cli.made_rows import heard
from dnal.cli.options import RUN
from dnal.settings import SEARCH_BUDGET, Searches

if TYPE_CHECKING:
    from dnal.search import MLPSpace, SearchResult
    from dnal.search.course import Candidate

SEARCHED, EMBEDDED = "dnal search", "dnal search --train-embedding"
WHERE, TRAINED = "Where it searches", "Data, and how networks are trained"
"""Headings of the options in the help."""
OF_EMBEDDING = ("train_embedding", "space", "seed", "quiet", "as_json")
"""Options of the training of an embedding; all others belong to the search."""


@taking({Searches: TRAINED})
@errors_as_sentences
def search(
    ctx: typer.Context,
    space: Annotated[
        str,
        typer.Option(
            metavar="NAME[:KEY=VALUE,...]",
            help="Which networks there are: layers (psoCNN's), layered-graph (DeepSwarm's), binary-mobilenet; for "
            "tables mlp, by gradient descent in an embedding of networks.",
            rich_help_panel=WHERE,
        ),
    ] = "layers",
    sampler: Annotated[
        str,
        typer.Option(
            metavar="NAME[:KEY=VALUE,...]",
            help="Who chooses: pso, aco, evolution, random, tpe (with the extra search).",
            rich_help_panel=WHERE,
        ),
    ] = "pso",
    budget: Annotated[
        str,
        typer.Option(
            metavar="B",
            help="What a network may cost: macs, params, memory, latency, such as 'macs<=5M,latency<=2ms'. One that "
            "costs more is not trained. For binary networks also bops.",
            rich_help_panel=WHERE,
        ),
    ] = SEARCH_BUDGET,
    train_embedding: Annotated[
        bool,
        typer.Option(
            "--train-embedding",
            help="Train the embedding of --space mlp, once for all data, and keep it in the cache; search nothing.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Networks side by side, one process and thread each; default: 1, with --address all cores of Ray.",
            rich_help_panel=RUN,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="A",
            help="Train the networks on Ray: the address of a cluster, auto, or local for this machine alone.",
            rich_help_panel=RUN,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of the search; default: in runs/.", rich_help_panel=RUN)
    ] = None,
    report: options.Report = True,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    **own: Any,
) -> None:
    """Search a space of networks for the best one within a budget, and train it. The same command again goes on."""
    options.within(options.COUNT, "--jobs", jobs)
    asked = Searches(**given(Searches, ctx.params))

    from dnal.search import SAMPLERS, SPACES
    from dnal.search import search as searched
    from dnal.search.embedding.job import NAME, mlp_space

    tell = teller(quiet=quiet, as_json=as_json)
    embedded = mlp_space(space)
    if train_embedding:
        everything = (str(parameter.name) for parameter in ctx.command.params if parameter.name not in OF_EMBEDDING)
        check_form(ctx, EMBEDDED, {SEARCHED: everything})
        _train(embedded, space, asked.seed, tell, quiet=quiet, as_json=as_json)
        return
    chosen: Any
    by: Any
    if embedded is not None:
        chosen, by, folder = embedded, sampler, out or _default(NAME, "descent", asked)
    else:
        chosen, by = SPACES.read(space), SAMPLERS.read(sampler)
        folder = out or _default(SPACES.name_of(chosen), SAMPLERS.name_of(by), asked)
    with heard("networks") as signals:
        found = searched(
            **values_of(asked), space=chosen, sampler=by, budget=budget, out=folder, jobs=jobs, address=address,
            stop=signals.asked, on_end=lambda number, candidate: tell(_told(number, asked.evaluations, candidate)),
        )  # fmt: skip
    if found is None:
        raise Ended(signals.signal or 0, "interrupted; the same command goes on.")
    page = _reported(folder) if report else None
    if as_json:
        json_document({"run": str(folder), "report": page and str(page), **_document(found)})
    elif quiet:
        line(str(folder))
    else:
        _show(found, asked, folder, page, shrinks=embedded is not None or chosen.channels_vary)


def _train(
    space: MLPSpace | None, text: str, seed: int, tell: Callable[[str], None], *, quiet: bool, as_json: bool
) -> None:
    """Trains an embedding and keeps it.

    Raises:
        UserError: the space has none.
    """
    from dnal.search.embedding.trained import keep, place_of, train_embedding

    if space is None:
        raise UserError(f"the space '{text}' has no embedding to train; --space mlp has.")
    found = train_embedding(
        space, seed=seed, told=lambda step, loss: tell(f"{step:,} of {space.training:,} steps: loss {loss:.4f}")
    )
    document, path = keep(space, found), place_of(space)
    if as_json:
        json_document({"embedding": str(path), **document})
    elif quiet:
        line(str(path))
    else:
        line(f"embedding: {path}")
        line(f"of networks that it did not see, it explains {document['explained']:.2f} of the variance (median R²)")
        line(f"next: dnal search --space {space.text} --data FILE.csv")


def _default(space: str, sampler: str, asked: Searches) -> Path:
    from dnal.cli.beginning import LONGEST_PART, slug
    from dnal.run.files import RUNS

    data = Path(asked.data).stem if asked.data.endswith(".npz") else Path(asked.data).name
    parts = (slug(part)[:LONGEST_PART] for part in (space, sampler, data))
    return RUNS / f"search-{'-'.join(parts)}-s{asked.seed}"


def _told(number: int, of: int, candidate: Candidate) -> str:
    evaluation = candidate.evaluation
    said = "" if evaluation is None else evaluation.why if evaluation.fitness is None else f"{evaluation.fitness:.4f}"
    if evaluation is not None and evaluation.stopped:
        said += f", stopped early after epoch {len(evaluation.curve)}"
    return f"{number + 1} of {of}: {said}  {candidate.model}"


def _reported(folder: Path) -> Path | None:
    from dnal.cli.report import report_at_the_end
    from dnal.run.files import REPORT

    # Anew every time: what stands there may have been made while the search was under way.
    return report_at_the_end([folder], folder / REPORT)


def _document(found: SearchResult) -> dict[str, Any]:
    return {
        "model": found.model,
        "figures": found.figures,
        "constraints": found.constraints,
        "candidates": [
            {
                "model": one.model,
                "round": one.round,
                "costs": dict(one.costs),
                "predicted": one.predicted,
                "fitness": None if one.evaluation is None else one.evaluation.fitness,
                "stopped": one.evaluation is not None and one.evaluation.stopped,
            }
            for one in found.candidates
        ],
    }


def _show(found: SearchResult, asked: Searches, folder: Path, page: Path | None, *, shrinks: bool) -> None:
    """Prints what was found and what to do next; ``shrinks``: whether `dnal learn` can remove channels of it."""
    from dnal.cli.summary import print_constraints
    from dnal.costs.budget import amount
    from dnal.costs.cost import COSTS
    from dnal.data.objective import OBJECTIVES

    aim = next(aim for aim in OBJECTIVES.values() if aim.figure in found.figures)
    rows = [
        (cost.words, amount(cost.name, found.figures[cost.figure]))
        for cost in COSTS.values() if cost.figure in found.figures
    ]  # fmt: skip
    line()
    line(found.model)
    table(
        [("of the best network", False), ("", True)],
        [*rows, (f"{aim.words} (test data)", aim.shown(found.figures[aim.figure]))],
    )
    print_constraints(found.constraints)
    if not all(row["holds"] for row in found.constraints):
        say("note: measured again, the network misses a bound that it kept before it was trained.")
    line()
    line(f"run:  {folder}")
    if page is not None:
        line(f"see:  {page}")
    learn, export = ["learn", "--model", str(folder), *_same_data(asked)], ["export", str(folder), "--to", "onnx"]
    line(f"next: {shlex.join(['dnal', *(learn if shrinks else export)])}")


def _same_data(asked: Searches) -> list[str]:
    """What another command must be told to take the data of a search: a model does not say on what it was found."""
    return [
        word
        for one in options_of(Searches)
        if one.name in ("data", "root", "input", "classes") and getattr(asked, one.name) != one.default
        for word in arguments_of(one, getattr(asked, one.name))
    ]
