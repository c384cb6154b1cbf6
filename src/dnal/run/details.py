"""details.json: what only the job itself can tell of its result, for people who look at it later.

Per layer its MACs and, where there is a latency model, its time before and after; which groups its channels belong to,
or why they stay; how often each class was taken for each; what it makes of each test example; what is left of a
supernet. Nothing of it is needed to load the network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dnal.base.errors import UserError
from dnal.base.reading import REMEDY, content
from dnal.run.files import DETAILS
from dnal.run.limits import LARGEST, MOST_OBJECTS, MOST_VALUES
from dnal.space.cost import Cost
from dnal.space.explain import explained
from dnal.space.roles import makers
from dnal.train.evaluate import MOST_CLASSES
from dnal.train.outcomes import LARGEST as FARTHEST
from dnal.train.outcomes import MOST, Outcomes

if TYPE_CHECKING:
    from dnal.latency import LatencyModel
    from dnal.pipeline.result import Learned

FORMAT = 1
NAMED = 6
"""So many places are named where there are many."""

Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**62)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Group(_Part):
    """Channels that leave together: those ``left`` of ``width``, and the tensor dimensions that make and read them."""

    name: str
    width: Count
    left: Count
    written_by: Annotated[list[str], Field(max_length=NAMED + 1)]
    read_by: Annotated[list[str], Field(max_length=NAMED + 1)]


class Side(_Part):
    """A dimension of a weight: how many of ``size`` entries are ``left``, the numbers of the groups that they belong
    to, and the reasons of those that stay."""

    size: Count
    left: Count
    groups: list[Count]
    reasons: list[str]


class Weight(_Part):
    """A parameter of a layer; its first dimensions, as far as they are channels: those that it makes or reads."""

    name: str
    sides: Annotated[list[Side], Field(max_length=2)]


class Layer(_Part):
    """What a module multiplies for one example and how long it takes, before and after."""

    path: str
    macs: tuple[Number, Number]
    latency_ms: tuple[Number, Number] | None = None
    weights: list[Weight]


class Examples(_Part):
    """What the compact network makes of each test example (:class:`dnal.train.outcomes.Outcomes`)."""

    values: Annotated[list[Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]], Field(min_length=1, max_length=MOST)]
    targets: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def outcomes(self) -> Outcomes:
        return Outcomes(tuple(self.values), self.targets)


class Details(_Part):
    """details.json.

    ``confusion``: of "base" and "compact" the entries [truth, taken for, how often] that are not 0; ``classes``: how
    many there are.
    """

    format: Literal[1]
    layers: list[Layer]
    groups: list[Group]
    blocks: list[str] = []
    classes: Annotated[int, Field(ge=0, le=MOST_CLASSES)] = 0
    confusion: dict[Literal["base", "compact"], list[tuple[Count, Count, Count]]] = {}
    examples: Examples | None = None


def details_of(learned: Learned, latency: LatencyModel | None = None) -> Details:
    """What is known of a job's result at its end; ``latency``: its latency model, if it has one."""
    return Details.model_validate(
        {
            "format": FORMAT,
            **_architecture(learned, latency),
            "blocks": learned.blocks,
            "classes": max((len(matrix) for matrix in learned.confusion.values()), default=0),
            "confusion": {name: _entries(matrix) for name, matrix in learned.confusion.items()},
            "examples": None
            if learned.outcomes is None
            else {
                "values": list(learned.outcomes.values),
                "targets": learned.outcomes.targets,
            },
        }
    )


def written(details: Details) -> str:
    """The text of details.json. No time, no path.

    Raises:
        UserError: it would be longer than is read.
    """
    text = json.dumps(details.model_dump(mode="json", exclude_none=True), separators=(",", ":")) + "\n"
    if len(text) > LARGEST[DETAILS] or not _few(text.encode()):
        raise UserError(f"its {len(text):,} bytes are more than are read")
    return text


def read_details(run: Path) -> Details:
    """details.json of a run.

    Raises:
        UserError: there is none, or it is not as a run writes it.
    """
    path = run / DETAILS
    wrong = UserError(f"'{path}' is not as a run writes it; {REMEDY}.")
    text = content(path, LARGEST[DETAILS])
    if not _few(text):
        raise wrong
    try:
        found = Details.model_validate_json(text)
    except (ValidationError, RecursionError):
        raise wrong from None
    groups, classes = len(found.groups), found.classes
    sides = [side for layer in found.layers for weight in layer.weights for side in weight.sides]
    entries = [entry for matrix in found.confusion.values() for entry in matrix]
    if any(max(s.groups, default=-1) >= groups for s in sides) or any(max(e[:2]) >= classes for e in entries):
        raise UserError(f"'{path}' speaks of groups or classes that it does not have; {REMEDY}.")
    return found


def _few(text: bytes) -> bool:
    """Whether a document has no more values than may be taken into memory."""
    return text.count(b",") <= MOST_VALUES and text.count(b"{") <= MOST_OBJECTS


def _architecture(learned: Learned, latency: LatencyModel | None) -> dict[str, Any]:
    space, times = learned.space, learned.change.times(learned.space)
    multiplied = _macs(learned)
    timed = {} if latency is None else _times(learned, latency)
    paths = list(dict.fromkeys((*timed, *multiplied)))  # the operations that take time stand in their order
    group_of = torch.full((space.num_variables + 1,), -1, dtype=torch.long)  # the last entry answers for source -1
    for number, group in enumerate(space.groups):
        group_of[group.variables] = number
    weights: dict[str, list[dict[str, Any]]] = {path: [] for path in paths}
    readers = set(space.readers)
    places = {name for name, _ in (*space.readers, *space.writers)}
    for name, shape in space.shapes.items():
        path = name.rpartition(".")[0]
        if len(shape) < 2 or name not in space.sources or not (path in weights or name in places):
            continue
        sides, left = [], learned.change.left(name)
        for dimension in explained(space, name).dimensions[:2]:
            ids = space.sources[name][dimension.number]
            sides.append(
                {
                    "size": dimension.size,
                    "left": left[dimension.number],
                    "groups": [] if ids is None else [g for g in group_of[ids].unique().tolist() if g >= 0],
                    "reasons": list(dimension.reasons),
                }
            )
        weights.setdefault(_runs(path, weights), []).append({"name": name, "sides": sides})
    return {
        "layers": [
            {
                "path": path,
                "macs": multiplied.get(path, (0.0, 0.0)),
                "latency_ms": None if latency is None else timed.get(path, (0.0, 0.0)),
                "weights": own,
            }
            for path, own in weights.items()
        ],
        "groups": [
            {
                "name": group.name,
                "width": group.width,
                "left": int(times[group.variables].sum()),
                "written_by": _named(makers(group.places, space.readers, space.writers)),
                "read_by": _named([place for place in group.places if place in readers]),
            }
            for group in space.groups
        ],
    }


def _macs(learned: Learned) -> dict[str, tuple[float, float]]:
    """MACs of one example per module, before and after, in the order of the forward pass."""
    cost = learned.space.costs["macs"]
    assert isinstance(cost, Cost)
    times = learned.change.times(learned.space)
    return _summed(learned.space.multiplied, cost.terms(torch.ones_like(times)), cost.terms(times))


def _times(learned: Learned, latency: LatencyModel) -> dict[str, tuple[float, float]]:
    """Predicted milliseconds per module, before and after."""
    from dnal.latency.model import Latency

    model, times = Latency(latency, learned.space), learned.change.times(learned.space)
    before, after = (model.terms_ms(gates, exactly=True) for gates in (torch.ones_like(times), times))
    return _summed([term.path for term in latency.terms], before, after)


def _summed(paths: list[str], before: torch.Tensor, after: torch.Tensor) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for path, b, a in zip(paths, before.tolist(), after.tolist(), strict=True):
        old = found.get(path, (0.0, 0.0))
        found[path] = (old[0] + b, old[1] + a)
    return found


def _runs(path: str, layers: dict[str, list[dict[str, Any]]]) -> str:
    """The module that multiplies by the weights of module ``path``: an attention reads those of the layers in it."""
    outer = path
    while outer and outer not in layers:
        outer = outer.rpartition(".")[0]
    return outer if outer in layers else path


def _named(places: Sequence[tuple[str, int]]) -> list[str]:
    more = [f"{len(places) - NAMED} more"] if len(places) > NAMED else []
    return [*(f"{name}[{dim}]" for name, dim in places[:NAMED]), *more]


def _entries(matrix: torch.Tensor) -> list[tuple[int, int, int]]:
    return [(row, column, int(matrix[row, column])) for row, column in matrix.nonzero().tolist()]
