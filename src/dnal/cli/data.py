"""`dnal data`: what can be loaded; of one set its parts, and which of its training examples matter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnal.base.errors import UserError
from dnal.cli import options
from dnal.cli.display import json_document, line, table
from dnal.cli.errors import errors_as_sentences
from dnal.cli.forms import check_form

if TYPE_CHECKING:
    from dnal.data.dataset import Dataset, Part

SCORES = ("el2n", "grand", "forgetting")
OF_ONE, SCORED = "dnal data NAME", "dnal data NAME --scores"
FORMS = {
    "dnal data": (),
    OF_ONE: ("root", "seed", "limit_train"),
    SCORED: ("root", "seed", "limit_train", "model", "epochs", "networks", "out"),
}


@errors_as_sentences
def data(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Of one: its parts, or the scores of its examples.")
    ] = None,
    scores: Annotated[
        str | None, typer.Option(metavar="SCORE", help=f"Score the training examples: {', '.join(SCORES)}.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The network that scores; default: as `dnal learn`.")
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", help="Of the networks that score.")] = 10,
    networks: Annotated[int, typer.Option(metavar="N", help="Over which scores are averaged.")] = 3,
    seed: Annotated[int, typer.Option(metavar="N", help="Of weights and order.")] = 0,
    root: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the downloaded sets.")] = None,
    limit_train: Annotated[int | None, typer.Option(metavar="N", help="Only so many training examples.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of scores.csv and scores.html; default: NAME-scores.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the data sets. With a name: its parts; with --scores: which of its training examples matter."""
    from dnal.data import load, names

    if name is None:
        if scores is not None:
            raise UserError("--scores are of one data set: give its name, such as `dnal data digits --scores el2n`.")
        check_form(ctx, "dnal data", FORMS)
        if as_json:
            json_document({"data": [each._asdict() for each in names()]})
        else:
            table([("data", False), ("kind", False), ("what it is", False)], names())
        return
    if scores not in (None, *SCORES):
        raise UserError(f"unknown --scores '{scores}'; there are {', '.join(SCORES)}.")
    check_form(ctx, OF_ONE if scores is None else SCORED, FORMS)
    for option, count in (("--epochs", epochs), ("--networks", networks), ("--limit-train", limit_train)):
        options.within(options.COUNT, option, count)
    found = load(name, root=root, limit_train=limit_train, seed=seed)
    if scores is None:
        _parts(found, as_json=as_json)
        return
    folder = out or Path(f"{Path(name).stem}-scores")
    _scored(found, scores, model, epochs, networks, seed, folder)
    if as_json:
        json_document({"scores": str(folder / "scores.csv"), "page": str(folder / "scores.html")})
    else:
        line(f"scores: {folder / 'scores.csv'}")
        line(f"page: {folder / 'scores.html'}")


def _parts(found: Dataset, *, as_json: bool) -> None:
    from dnal.data.kinds import KINDS

    kind = KINDS[found.kind]
    counts = {part: _examples(getattr(found, part), alone=kind.alone) for part in ("train", "val", "test")}
    if as_json:
        shape = list(found.input_shape)
        json_document({"name": found.name, "kind": found.kind, "input": shape, "classes": found.classes, **counts})
        return
    told = found.objective.answers[found.classes > 1]
    line(f"{found.name}: {found.kind}, {'x'.join(map(str, found.input_shape))}, {found.classes} {told}")
    what = kind.classified if kind.alone else "examples"
    table([("part", False), (what, True)], [(part, str(count)) for part, count in counts.items()])


def _examples(part: Part, *, alone: bool) -> int:
    """How many examples a part has; of one alone, such as a graph, how many of its nodes are told."""
    from dnal.train.evaluate import IGNORED

    return int((part.y != IGNORED).sum()) if alone else len(part)


def _scored(found: Dataset, score: str, model: str | None, epochs: int, networks: int, seed: int, folder: Path) -> None:
    """Writes the table and the page of scores."""
    import torch

    from dnal import models
    from dnal.base.atomic import write_text
    from dnal.data import loaders
    from dnal.report.examples import scores_page, scores_table
    from dnal.report.frame import check_place
    from dnal.settings import Source
    from dnal.techniques.data_diet import scores_of

    chosen = model or Source().model
    made_for = models.kind_of(chosen)
    if made_for not in (None, found.kind):
        raise UserError(
            f"the model '{chosen}' is for {made_for}, and '{found.name}' is of the kind '{found.kind}'; give --model "
            f"(`dnal models --kind {found.kind}`)."
        )
    if not found.objective.is_share or found.train.y.dim() != 1:
        raise UserError(
            f"scores are of examples that have one class each, and '{found.name}' has none such; choose other data."
        )
    folder.mkdir(parents=True, exist_ok=True)
    check_place(folder / "scores.html")
    torch.manual_seed(seed)
    network = models.create(chosen, classes=found.classes, input_shape=found.input_shape)
    values = scores_of(network, loaders(found, 64, seed=seed).train, score, epochs=epochs, networks=networks, seed=seed)  # type: ignore[arg-type]
    trained = f"{networks} networks, {chosen}" if networks > 1 else f"one network, {chosen}"
    write_text(folder / "scores.csv", scores_table(found, values))
    how = f"Mean over {trained}, after {epochs} epochs." if networks > 1 else f"Of {trained}, after {epochs} epochs."
    write_text(folder / "scores.html", scores_page(found, values, score, how))
