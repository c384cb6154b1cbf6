"""`dnal predict`: what an architecture or a trained network will come to, from others, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnal.base.errors import UserError, all_names
from dnal.base.options import Range
from dnal.cli import options
from dnal.cli.display import json_document, line, table, teller
from dnal.cli.errors import errors_as_sentences, say
from dnal.cli.forms import check_form
from dnal.cli.made_rows import check_whole, heard
from dnal.settings import MOST

if TYPE_CHECKING:
    from dnal.predictors import Table

FIT, RANK, ZOO = "fit", "rank", "zoo"
FORMS = {
    f"dnal predict {FIT}": ("target", "model", "labels", "seed", "out"),
    f"dnal predict {RANK}": ("top",),
    f"dnal predict {ZOO}": ("data", "networks", "recipe", "seed", "out"),
}
OF_ARCHITECTURES, OF_WEIGHTS = "boosting", "statistics"
"""What learns where no model is given."""
FEWEST = 2
"""Labels from which anything can be learnt."""
LEAST = 10
"""Labels, or architectures without one, of which a rank correlation is told."""


@errors_as_sentences
def predict(
    ctx: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="fit|rank|zoo", help="Learn a predictor, rank with one, or train a zoo for one.")
    ],
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[P] TABLE",
            help="fit: a table (.npz), a folder of finished runs, or a zoo. rank: the folder of a predictor, then one "
            "of these.",
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="T", help="fit: accuracy, latency:DEVICE, or any other target of the table.")
    ] = "accuracy",
    model: Annotated[
        str | None, typer.Option(metavar="NAME[:KEY=VALUE,...]", help="fit: boosting (the default), ridge, "
                                 "gaussian-process, mlp, nar-former or assessor; of a zoo statistics (the default), "
                                 "neural-graph or sne; with its options.")
    ] = None,
    labels: Annotated[
        int | None, typer.Option(metavar="N", help="fit: learn from so many, drawn at random; default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="fit: of the draw of labels. zoo: of everything.")] = 0,
    top: Annotated[int, typer.Option(metavar="N", help="rank: show so many.")] = 10,
    data: Annotated[
        str, typer.Option(metavar="NAME", help="zoo: images with classes, as of `dnal data`, or a file.")
    ] = "digits",
    networks: Annotated[int, typer.Option(metavar="N", help="zoo: how many.")] = 300,
    recipe: Annotated[
        str, typer.Option(metavar="KEY=VALUE,...", help="zoo: kind (cnn, mlp or both), side, images, widths, depths, "
                          "activations, steps, batch, together.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="P", help="fit: folder of the predictor; default: predictor. zoo: its own; "
                                  "default: zoo.")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Predict accuracy or latency of architectures, or of networks from their weights, and rank others by it."""
    options.within(Range(least=FEWEST, most=MOST), "--labels", labels)
    options.within(Range(least=0, most=MOST), "--seed", seed)
    options.within(options.COUNT, "--top", top)
    given = places or []
    if f"dnal predict {what}" in FORMS:
        check_form(ctx, f"dnal predict {what}", FORMS)
    if what == FIT:
        if len(given) != 1:
            raise UserError(f"`dnal predict fit` takes one table, folder of runs or zoo, not {len(given)} paths.")
        _fit(given[0], target, model, labels, seed, out or Path("predictor"), quiet=quiet, as_json=as_json)
    elif what == RANK:
        if len(given) != 2:
            raise UserError("`dnal predict rank` takes the folder of a predictor, and a table, folder of runs or zoo.")
        _rank(given[0], given[1], top, quiet=quiet, as_json=as_json)
    elif what == ZOO:
        if given:
            raise UserError(f"`dnal predict zoo` takes no path such as '{given[0]}'; give --data and --out.")
        _zoo(data, networks, recipe, seed, out or Path("zoo"), quiet=quiet, as_json=as_json)
    else:
        raise UserError(f"unknown word '{what}' after `dnal predict`{all_names(what, (FIT, RANK, ZOO))}")


def _zoo(data: str, networks: int, recipe: str, seed: int, out: Path, *, quiet: bool, as_json: bool) -> None:
    import numpy as np

    from dnal.base.options import from_values, options_in
    from dnal.predictors.zoo.folder import make_zoo, read_zoo
    from dnal.predictors.zoo.recipe import Recipe

    given = options_in(Recipe, recipe)
    twice = sorted({"networks", "seed"} & given.keys())
    if twice:
        raise UserError(f"give --{twice[0]}, not {twice[0]}= in --recipe.")
    asked = from_values(Recipe, {**given, "networks": networks, "seed": seed}, "the recipe of a zoo")
    tell = teller(quiet=quiet, as_json=as_json)
    with heard("networks") as signals:
        make_zoo(
            out, data, asked, stop=signals.asked,
            on_part=lambda made, of: tell(f"{min(made * asked.together, networks):,} of {networks:,} networks"),
        )  # fmt: skip
    check_whole(signals.signal, killed=False, left=0)
    found = read_zoo(out)
    low, middle, high = (float(one) for one in np.quantile(found.accuracy, [0.1, 0.5, 0.9]))
    if as_json:
        json_document({
            "data": found.data, "networks": len(found.networks), "not_finite": found.failed,
            "accuracy": {"low": low, "median": middle, "high": high}, "folder": str(out),
        })  # fmt: skip
        return
    tell(f"accuracy from {low:.3f} over {middle:.3f} to {high:.3f} (tenth, half and nine tenths of the networks)")
    if found.failed:
        several = f"{found.failed:,} networks have" if found.failed > 1 else "1 network has"
        tell(f"{several} weights that are no finite numbers; left out")
    line(str(out))


def _fit(
    place: Path, target: str, model: str | None, labels: int | None, seed: int, out: Path, *, quiet: bool, as_json: bool
) -> None:
    import numpy as np

    from dnal.predictors import PREDICTORS, cross_validated
    from dnal.predictors.correlation import tau
    from dnal.predictors.file import Saved, check_folder, write_predictor
    from dnal.predictors.predictor import subset
    from dnal.predictors.zoo.folder import is_zoo

    tell = teller(quiet=quiet, as_json=as_json)
    predictor = PREDICTORS.read(model or (OF_WEIGHTS if is_zoo(place) else OF_ARCHITECTURES))
    check_folder(out)
    known = _table(place)
    values = known.target(target)
    measured = np.flatnonzero(np.isfinite(values))
    if len(measured) < FEWEST:
        raise UserError(
            f"the table knows '{target}' of {len(measured)} of its {len(known):,} architectures, and a predictor "
            f"learns from {FEWEST} or more; give another --target."
        )
    number = len(measured) if labels is None else labels
    if number > len(measured):
        raise UserError(f"--labels is at most {len(measured)}, the architectures with '{target}', not {number}.")
    drawn = np.random.default_rng(seed).permutation(len(measured))
    own, rest = measured[drawn[:number]], measured[drawn[number:]]
    others = np.setdiff1d(np.arange(len(known)), own)
    learnt, aside = subset(known.architectures, own), subset(known.architectures, others)
    predictor.check_reads(learnt)
    tell(f"{len(known):,} architectures of {known.name}; learning {target} from {number:,}")
    predictor.fit(learnt, values[own], unlabelled=aside)
    found = cross_validated(predictor, learnt, values[own], unlabelled=aside) if number >= LEAST else None
    unseen = tau(predictor.predict(subset(known.architectures, rest)), values[rest]) if len(rest) >= LEAST else None
    # Last, so that a folder is there only where all of it worked.
    write_predictor(out, Saved(predictor, target, known.name, known.columns, tuple(known.labels[row] for row in own)))
    if as_json:
        json_document({
            "predictor": PREDICTORS.values(predictor), "table": known.name, "target": target, "labels": number,
            "architectures": len(known), "tau_cross_validated": None if found is None else found._asdict(),
            "tau_not_labelled": unseen, "not_labelled": len(rest), "folder": str(out),
        })  # fmt: skip
        return
    if not quiet:
        rows = []
        if found is not None:
            rows.append(("labelled, by cross-validation", f"{number:,}", _told(found.value), _told(found.low),
                         _told(found.high)))  # fmt: skip
        if unseen is not None:
            rows.append(("not labelled", f"{len(rest):,}", _told(unseen), "", ""))
        columns = [("architectures", False), ("number", True), ("Kendall's tau", True), ("from", True), ("to", True)]
        table(columns, rows)
    line(str(out))


def _rank(folder: Path, place: Path, top: int, *, quiet: bool, as_json: bool) -> None:
    import numpy as np

    from dnal.predictors.file import read_predictor
    from dnal.predictors.tables import CELLS, MACRO

    saved, known = read_predictor(folder), _table(place)
    if saved.columns != known.columns:
        raise UserError(f"'{place}' has other columns than the table from which '{folder}' learnt; give one like it.")
    if saved.table != known.name and {saved.table, known.name} & {CELLS, MACRO}:
        say(
            f"note: '{folder}' learnt from the table '{saved.table}', and '{place}' is the table '{known.name}', where "
            "an operation of the same number is another one: this order means nothing unless you know that they agree."
        )
    values: Any = saved.predictor.predict(known.architectures)
    deviations: Any = None
    if saved.predictor.members > 1 or saved.predictor.knows_spread:
        values, deviations = saved.predictor.predict(known.architectures, return_std=True)
    least = saved.target.partition(":")[0] in ("latency", "latency_ms", "macs", "params", "memory")
    order = np.argsort(values if least else -values, kind="stable")[:top]
    labelled = set(saved.labelled)
    rows = [
        {
            "architecture": known.labels[row], "predicted": float(values[row]),
            "spread": None if deviations is None else float(deviations[row]),
            "known": _known(known, saved.target, row), "labelled": known.labels[row] in labelled,
        }
        for row in order
    ]  # fmt: skip
    if as_json:
        json_document({"target": saved.target, "least_first": least, "architectures": len(known), "ranked": rows})
        return
    if quiet:
        for row in rows:
            line(str(row["architecture"]))
        return
    columns = [
        ("architecture", False),
        (saved.target, True),
        ("+-", True),
        ("in the table", True),
        ("learnt from", False),
    ]
    cells = [
        (str(row["architecture"]), _told(row["predicted"]), _told(row["spread"]), _told(row["known"]),
         "yes" if row["labelled"] else "")
        for row in rows
    ]  # fmt: skip
    table(columns, cells)


def _table(place: Path) -> Table:
    from dnal.predictors import read_table
    from dnal.predictors.runs import table_of_runs
    from dnal.predictors.zoo.folder import is_zoo, read_zoo

    if is_zoo(place):
        return read_zoo(place).table()
    return table_of_runs(place) if place.is_dir() else read_table(place)


def _known(known: Table, target: str, row: int) -> float | None:
    return float(known.targets[target][row]) if target in known.targets else None


def _told(value: Any) -> str:
    return "" if value is None else f"{value:.4g}"
