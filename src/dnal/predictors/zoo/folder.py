"""A zoo as a folder: zoo.json, and for each part its trainings as JSON and its weights as safetensors.

The folder may be anybody's: reading runs nothing, and takes no more memory than it has bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnal import data
from dnal.base import claim
from dnal.base.atomic import target_of, write_bytes, write_text
from dnal.base.errors import UserError, one_line, printable
from dnal.base.options import from_values, values_of
from dnal.base.reading import json_of
from dnal.data.fingerprint import fingerprint
from dnal.predictors.arrays import packed, unpacked
from dnal.predictors.tables import Table
from dnal.predictors.weights.chain import ACTIVATIONS, MEAN, MOST_NEURONS, Chain, Layer, Step
from dnal.predictors.zoo.recipe import KINDS, Recipe, Shape, Training
from dnal.predictors.zoo.together import PADDING, STRIDE, Stacked, accuracies, trained_together

FORMAT = 1
ZOO = "zoo.json"
LARGEST, LARGEST_TENSORS = 2**22, 2**29
REMEDY = "make it again with `dnal predict zoo`"
ZOO_TABLE = "zoo"
"""Name of the table that a zoo is."""


@dataclass(frozen=True, eq=False)
class Zoo:
    """Networks with what is known of them.

    Attributes:
        recipe: by which they were made. data: its name, as it was given. networks: N. accuracy: (N,) on test images.
        trainings: of each. labels: a short text for each. missing: how many are still to be made. failed: how many had
            weights that are no finite numbers, and are left out.
    """

    recipe: Recipe
    data: str
    networks: list[Chain]
    accuracy: NDArray[np.float64]
    trainings: list[Training]
    labels: list[str]
    missing: int
    failed: int

    def table(self) -> Table:
        """As a table of architectures, whose targets are accuracy, and how each was trained."""
        told = {
            name: np.array([float(getattr(each, name)) for each in self.trainings])
            for name in ("steps", "lr", "decay", "examples")
        }
        return Table(ZOO_TABLE, self.networks, self.labels, {"accuracy": self.accuracy, **told})


def make_zoo(
    folder: str | Path,
    name: str,
    recipe: Recipe,
    *,
    stop: Callable[[], bool] = lambda: False,
    on_part: Callable[[int, int], None] = lambda made, of: None,
) -> None:
    """Trains the networks of a zoo that are not there yet, part by part.

    What a part becomes follows from the recipe alone, whether it is made at once or later.

    Args:
        folder: made if it is not there. name: of the data, as `dnal data` has it, or a file; images with classes.
        stop: asked before each part. on_part: called with how many parts are there, of how many.

    Raises:
        UserError: other data than images; the folder holds something else, or a zoo of another recipe or data.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_zoo(folder, "digits", Recipe(networks=4, together=2, steps=20, images=100))
        ...     zoo = read_zoo(folder)
        >>> len(zoo.networks), zoo.networks[0].inputs
        (4, (1, 8, 8))
    """
    where = Path(folder)
    loaded = data.load(name, input_shape=(1, recipe.side, recipe.side), augment=False, kind="images")
    test = loaded.test.batch(torch.arange(len(loaded.test)), 0)
    train = loaded.train.batch(torch.arange(min(recipe.images, len(loaded.train))), 0)
    document = {"format": FORMAT, "data": name, "images": fingerprint(loaded), "classes": loaded.classes,
                "recipe": values_of(recipe)}  # fmt: skip
    if os.path.lexists(where / ZOO):
        there = json_of(where / ZOO, LARGEST, remedy=REMEDY)
        if not isinstance(there, dict) or {**there, "data": name} != document:
            raise UserError(f"'{where}' holds a zoo of another recipe or of other data; choose another folder.")
    elif where.is_dir() and any(where.iterdir()):
        raise UserError(f"the folder '{where}' exists and holds no zoo; choose another folder.")
    with claim.claimed(where, ZOO, json.dumps(document, indent=1) + "\n", "dnal predict zoo"):
        for entry in where.iterdir():
            if (target_of(entry.name) or "").startswith("part-"):
                entry.unlink()  # what a killed process was writing
        for place in range(recipe.parts):
            if os.path.lexists(where / _file(place, "json")):
                continue
            if stop():
                return
            _make(where, recipe, place, (train, test), loaded.classes)
            on_part(place + 1, recipe.parts)


def is_zoo(folder: Path) -> bool:
    """Whether a zoo was begun in a folder."""
    return os.path.lexists(folder / ZOO)


def read_zoo(folder: str | Path) -> Zoo:
    """The zoo in a folder, as far as it is made.

    Raises:
        UserError: there is none, fewer than two networks are made, or a file is damaged.
    """
    where = Path(folder)
    if not is_zoo(where):
        raise UserError(f"there is no zoo in '{where}': it has no {ZOO}; `dnal predict zoo` makes one.")
    document = json_of(where / ZOO, LARGEST, remedy=REMEDY)
    values = document.get("recipe") if isinstance(document, dict) and document.get("format") == FORMAT else None
    name, classes = (document.get(key) for key in ("data", "classes")) if isinstance(values, dict) else (None, None)
    if not (
        isinstance(values, dict) and isinstance(name, str) and type(classes) is int and 1 <= classes <= MOST_NEURONS
    ):
        raise UserError(f"'{where / ZOO}' tells of no zoo of format {FORMAT}; {REMEDY}.")
    zoo = Zoo(from_values(Recipe, values, "the zoo"), printable(name), [], np.zeros(0), [], [], 0, 0)
    missing = failed = 0
    accuracy: list[float] = []
    for place in range(zoo.recipe.parts):
        if not os.path.lexists(where / _file(place, "json")):
            missing += zoo.recipe.size(place)
            continue
        try:
            for row, network, training, known in _part(where, zoo.recipe, place, classes):
                if network is None:
                    failed += 1
                    continue
                zoo.networks.append(network)
                zoo.trainings.append(training)
                zoo.labels.append(f"{place:04d}/{row}")
                accuracy.append(known)
        except UserError as error:
            raise UserError(f"part {place} of '{where}' cannot be read: {one_line(str(error), 400)}") from None
    if len(accuracy) < 2:
        count = "1 network" if accuracy else "no network"
        raise UserError(f"'{where}' has {count} that can be read; make more with `dnal predict zoo`.")
    return Zoo(zoo.recipe, zoo.data, zoo.networks, np.array(accuracy), zoo.trainings, zoo.labels, missing, failed)


def chains(shape: Shape, side: int, parameters: Stacked) -> list[Chain | None]:
    """The networks as chains; None where a weight is no finite number."""
    hidden = len(shape.widths)
    steps: list[tuple[Step, ...]] = [((shape.activation,),)] * hidden + [()]
    convolves = shape.kind == "cnn"
    if convolves:
        steps[hidden - 1] = ((shape.activation,), (MEAN,))
    how: dict[str, Any] = {"stride": (STRIDE, STRIDE), "padding": (PADDING, PADDING)}
    weights, biases = ([own.numpy() for own in each] for each in parameters)
    found: list[Chain | None] = []
    for row in range(len(weights[0])):
        own = [(weight[row], bias[row]) for weight, bias in zip(weights, biases, strict=True)]
        finite = all(np.isfinite(each).all() for both in own for each in both)
        layers = tuple(
            Layer(weight, bias, steps[at], **(how if convolves and at < hidden else {}))
            for at, (weight, bias) in enumerate(own)
        )
        found.append(Chain((1, side, side), layers) if finite else None)
    return found


def _make(where: Path, recipe: Recipe, place: int, images: Any, classes: int) -> None:
    (x, y), (new_x, new_y) = images
    part = recipe.part(place)
    found = trained_together(part, x, y, classes, recipe.batch)
    known = accuracies(part.shape, found, new_x, new_y).tolist()
    content, digest = packed(
        {
            f"{at}.{what}": one
            for what, all_ in (("weight", found.weights), ("bias", found.biases))
            for at, one in enumerate(all_)
        }
    )
    document = {
        "format": FORMAT, "shape": asdict(part.shape),
        "networks": [{**asdict(each), "accuracy": own} for each, own in zip(part.trainings, known, strict=True)],
        "sha256": digest,
    }  # fmt: skip
    claim.check_still_held(where)
    write_bytes(where / _file(place, "safetensors"), content)
    write_text(where / _file(place, "json"), json.dumps(document, indent=1) + "\n")


def _part(where: Path, recipe: Recipe, place: int, classes: int) -> list[tuple[int, Chain | None, Training, float]]:
    document = json_of(where / _file(place, "json"), LARGEST, remedy=REMEDY)
    networks = document.get("networks") if isinstance(document, dict) and document.get("format") == FORMAT else None
    if not isinstance(networks, list) or len(networks) != recipe.size(place):
        raise UserError(f"it does not tell of {recipe.size(place)} networks; {REMEDY}.")
    trainings = [Training.of_values(each) for each in networks]
    accuracy = [each.get("accuracy") for each in networks]
    if not all(type(each) is float and 0 <= each <= 1 for each in accuracy):
        raise UserError(f"an accuracy is no number from 0 to 1; {REMEDY}.")
    shape = _shape(document.get("shape"))
    found = chains(shape, recipe.side, _stacked(where, recipe, place, shape, classes, document.get("sha256")))
    return list(zip(range(len(found)), found, trainings, accuracy, strict=True))


def _shape(given: Any) -> Shape:
    values = given if isinstance(given, dict) else {}
    kind, widths, activation = (values.get(name) for name in ("kind", "widths", "activation"))
    whole = isinstance(widths, list) and 1 <= len(widths) <= 8 and all(type(one) is int and one > 0 for one in widths)
    if kind not in KINDS or not whole or sum(widths or ()) > MOST_NEURONS or activation not in ACTIVATIONS:
        raise UserError(f"its shape is none of a zoo; {REMEDY}.")
    return Shape(kind, tuple(widths or ()), activation)


def _stacked(where: Path, recipe: Recipe, place: int, shape: Shape, classes: int, digest: object) -> Stacked:
    tensors = unpacked(where / _file(place, "safetensors"), digest, LARGEST_TENSORS, remedy=REMEDY)
    convolves = shape.kind == "cnn"
    sizes = [1 if convolves else recipe.side**2, *shape.widths, classes]
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for at, (before, out) in enumerate(pairwise(sizes)):
        kernel = (3, 3) if convolves and at < len(shape.widths) else ()
        for name, shape_, into in (("weight", (out, before, *kernel), weights), ("bias", (out,), biases)):
            own = tensors.get(f"{at}.{name}")
            if own is None or own.dtype != np.float32 or own.shape != (recipe.size(place), *shape_):
                raise UserError(f"its tensor '{at}.{name}' is not there in the shape of its networks; {REMEDY}.")
            into.append(torch.from_numpy(own))
    return Stacked(weights, biases)


def _file(place: int, kind: str) -> str:
    return f"part-{place:04d}.{kind}"
