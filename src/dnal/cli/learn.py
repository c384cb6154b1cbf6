"""`dnal learn`: the main job, from a name to a smaller ordinary network."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnal.cli import options
from dnal.cli.display import line
from dnal.cli.errors import told
from dnal.errors import UserError
from dnal.plan import DEFAULT_BUDGET, RECIPES

if TYPE_CHECKING:
    from dnal.learning import Learned

BATCH_SIZE = 64
RUNS = Path("runs")


@told
def learn(
    model: Annotated[str, typer.Option(metavar="M", help="A name of `dnal models`.")] = "vgg_small",
    weights: Annotated[
        str | None,
        typer.Option(metavar="W", help="pretrained, or a .safetensors file: start from a trained network."),
    ] = None,
    input_: Annotated[
        str | None, typer.Option("--input", metavar="C,H,W", help="Image size; default: the model's or the images'.")
    ] = None,
    classes: Annotated[int | None, typer.Option(metavar="N", help="Default: what the data tell.")] = None,
    data: Annotated[str, typer.Option(metavar="D", help="A name of `dnal data`, an .npz file, a folder.")] = "digits",
    root: Annotated[str | None, typer.Option(metavar="DIR", help="Folder of the downloaded sets.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="B",
            help=f"What the compact network may cost, such as 'macs<=30%,params<=1.2M'; default: {DEFAULT_BUDGET}, "
            "with the recipe paper none (its --lambda decides).",
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(metavar="budget|paper", help="How the architecture is learned.")] = "budget",
    lambda_: Annotated[
        float | None, typer.Option("--lambda", metavar="X", help="Weight of the cost; recipe paper only.")
    ] = None,
    epochs: Annotated[
        str | None, typer.Option(metavar="N|E1,E2,E3", help="In all, or for base, architecture and retraining.")
    ] = None,
    lr: Annotated[float | None, typer.Option(metavar="X", help="Learning rate of the weights.")] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Images per step.")] = BATCH_SIZE,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that prepare the images.")] = 0,
    include: Annotated[list[str] | None, typer.Option(metavar="P", help=options.INCLUDE)] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="P", help=options.EXCLUDE)] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Equal seeds on one machine give equal results.")] = 0,
    limit_train: Annotated[
        int | None, typer.Option(metavar="N", help="Use only so many training images, stratified.")
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="|".join(options.PRECISIONS), help="Numbers to compute with.")
    ] = "auto",
    distil: Annotated[
        bool | None,
        typer.Option("--distil/--no-distil", help="Whether the network before removal teaches the compact one."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Folder of the run; default: a new one in runs/.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run at --out.")] = False,
) -> None:
    """Learn a smaller architecture of a network on data, and train it. Without options: the whole job on digits."""
    shape = options.input_shape(input_)
    epochs_given = options.epochs(epochs)
    options.one_of("recipe", recipe, RECIPES)
    options.one_of("precision", precision, options.PRECISIONS)
    options.whole("--classes", classes, 2)
    options.whole("--batch-size", batch_size)
    options.whole("--workers", workers, 0)
    options.whole("--seed", seed, 0)
    options.whole("--limit-train", limit_train)
    options.positive("--lr", lr)
    options.positive("--lambda", lambda_)
    if lambda_ is not None and recipe != "paper":
        raise UserError("--lambda belongs to --recipe paper; the recipe budget follows --budget alone.")
    if weights is not None and weights != "pretrained" and not Path(weights).is_file():
        raise UserError(f"there is no weights file '{weights}'; give 'pretrained' or a .safetensors file.")

    import torch

    from dnal import data as data_sets
    from dnal import learning
    from dnal.budget import Budget
    from dnal.cli.network import created, input_of
    from dnal.cli.progress import ProgressBars
    from dnal.cli.summary import print_constraints, print_figures
    from dnal.run import CHECKPOINT, RunWriter, check_free
    from dnal.train.listener import Chorus
    from dnal.train.loop import Diverged

    if budget is None and recipe == "budget":
        budget = DEFAULT_BUDGET
    if budget is not None:
        Budget.parse(budget)
    wanted = input_of(model, shape)
    folder = out or _default_out((model, data, budget or recipe), seed, free=not overwrite)
    check_free(folder, overwrite=overwrite)

    dataset = data_sets.load(data, root=root, input_shape=wanted, classes=classes, limit_train=limit_train, seed=seed)
    loaders = data_sets.loaders(dataset, batch_size, seed=seed, workers=workers)
    network, trained = created(model, dataset.classes, dataset.input_shape, weights=weights, seed=seed)
    job: dict[str, Any] = {
        "model": model,
        "weights": weights,
        "input": list(dataset.input_shape),
        "classes": dataset.classes,
        "data": data,
        "root": root,
        "limit_train": limit_train,
        "batch_size": batch_size,
        "workers": workers,
        "seed": seed,
    }
    writer = RunWriter(folder, job, overwrite=overwrite)
    try:
        with ProgressBars() as bars:
            learned: Learned = learning.learn(
                network,
                loaders.train,
                loaders.val,
                loaders.test,
                budget=budget,
                recipe=recipe,  # type: ignore[arg-type]  # checked above
                base_is_trained=trained,
                example_inputs=dataset.val.batch(torch.arange(min(2, len(dataset.val))), 0)[0],
                epochs=epochs_given,
                lr=lr,
                seed=seed,
                precision=precision,
                distil=distil,
                lambda_=lambda_,
                include=include,
                exclude=exclude,
                listener=Chorus([writer, bars]),
            )
    except Diverged as error:
        where = str(error).partition(";")[0].rstrip(".")
        kept = (
            f"the last good state is '{folder / CHECKPOINT}'"
            if (folder / CHECKPOINT).exists()
            else "no epoch before it was good"
        )
        raise UserError(f"{where}; {kept}; a lower --lr usually helps.") from error
    writer.finish(learned)
    print_figures(learned.base, learned.compact)
    print_constraints(learned.constraints)
    line()
    line(f"run:  {folder}")
    line(f"next: dnal eval {shlex.quote(str(folder))}")


def _default_out(parts: tuple[str, str, str], seed: int, *, free: bool) -> Path:
    """runs/MODEL-DATA-BUDGET-sSEED; if it must be free, with -2, -3, ... where that is taken."""
    model, data, budget = parts
    data = Path(data).stem if data.endswith(".npz") else Path(data).name
    budget = budget.replace("<=", "").replace("%", "pct")
    name = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", part).strip("_.") for part in (model, data, budget)) + f"-s{seed}"
    folder, number = RUNS / name, 1
    while free and (folder.exists() or folder.is_symlink()):
        number += 1
        folder = RUNS / f"{name}-{number}"
    return folder
