"""The latency of a network on one device, as a function of its gates."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnal.base.atomic import write_text
from dnal.base.errors import UserError
from dnal.base.reading import given_json
from dnal.latency.grid import BLOCK, DIVISORS, Interpolation, Table
from dnal.latency.layers import KINDS
from dnal.space.cost import Cost, CostFunction, Side
from dnal.space.space import Space

FORMAT = 3
LARGEST_FILE = 2**24
"""Bytes of a latency.json."""
MOST_KNOTS = 64
"""Of an axis of a table."""
MOST_MULTIPLE = 2**12


@dataclass(frozen=True)
class Term:
    """One operation of the network that takes time.

    Attributes:
        operation: its number among ``Space.operations``, its name and the module that runs it.
        kind: one of ``dnal.latency.layers.KINDS``; family: of its layer; table: number of its table.
        axes: what makes the positions in the table: per axis a sum of products, each a factor and (operand, dimension)
            pairs; operands are counted through the inputs and on through the outputs.
    """

    operation: int
    name: str
    path: str
    kind: str
    family: str
    table: int
    axes: list[list[tuple[float, list[tuple[int, int]]]]]


@dataclass(frozen=True, eq=False)
class LatencyModel:
    """Milliseconds of a network at a batch, on a backend and a device.

    Attributes:
        backend, batch, device, versions, threads: where and at which batch it was measured.
        multiple: of the widths at which it was measured.
        terms: the operations that take time; tables: of their layers.
        factors: per family of layers; constant: milliseconds, shared by all operations alike.
        architecture: names of the operations, so that another network is refused.
        measured: per network of the calibration {"ms", "predicted_ms", "macs"}, the whole network first.
        seconds: that the profiling took.
    """

    backend: str
    batch: int
    device: str
    versions: dict[str, str]
    threads: int
    multiple: int
    terms: list[Term]
    tables: list[Table]
    factors: dict[str, float]
    constant: float
    operations: list[str]
    measured: list[dict[str, float]]
    seconds: float

    def cost(self, space: Space) -> CostFunction:
        """Milliseconds as a function of gates (num_gates,), bool or floating: a float64 scalar, differentiable,
        never less where more is open. A closed branch takes the time of its operations with it.

        Raises:
            UserError: if the space is not that of the network that was profiled.
        """
        return Latency(self, space)

    def predicted_ms(self, space: Space, open_variables: Tensor) -> float:
        """Milliseconds of the architecture in which exactly ``open_variables`` (num_gates,) stay.

        Where :meth:`cost` stands for all widths that are multiples of ``multiple``, this one looks at these very
        widths: a width that suits the kernels can be quicker than a smaller one that does not.

        Raises:
            UserError: as :meth:`cost`.
        """
        return float(Latency(self, space).terms_ms(open_variables, exactly=True).sum())

    @property
    def base_ms(self) -> float:
        """Milliseconds of the whole network as it was measured: percent of the base are percent of it."""
        return self.measured[0]["ms"]

    def document(self) -> dict[str, Any]:
        """The model as plain values."""
        return {
            "format": FORMAT,
            "backend": self.backend,
            "batch": self.batch,
            "device": self.device,
            "versions": self.versions,
            "threads": self.threads,
            "multiple": self.multiple,
            "factors": self.factors,
            "constant": self.constant,
            "measured": self.measured,
            "seconds": self.seconds,
            "operations": self.operations,
            "terms": [[t.operation, t.name, t.path, t.kind, t.family, t.table, t.axes] for t in self.terms],
            "tables": [
                {"knots": table.knots, "ms": table.ms.tolist(), "penalties": table.penalties} for table in self.tables
            ],
        }

    def save(self, path: str | Path) -> None:
        """Writes latency.json.

        Raises:
            UserError: where the disk refuses, or it would be larger than is read.
        """
        text = json.dumps(self.document(), separators=(",", ":")) + "\n"
        if len(text) > LARGEST_FILE:
            raise UserError(
                f"the latency model of this network has {len(text):,} bytes, and at most {LARGEST_FILE:,} are read; "
                "bound its MACs or parameters."
            )
        write_text(Path(path), text)

    @staticmethod
    def of(document: Mapping[str, Any]) -> LatencyModel:
        """The model of a :meth:`document`.

        Raises:
            UserError: if it is no latency model.
        """
        try:
            return _parsed(document)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            raise UserError(f"no latency model: it lacks or garbles {error}.") from None

    @staticmethod
    def load(path: str | Path) -> LatencyModel:
        """Reads what :meth:`save` wrote.

        Raises:
            UserError: if the file is missing or holds no latency model.
        """
        path = Path(path)
        document = given_json(path, LARGEST_FILE, "the latency model", "is no latency model")
        try:
            return LatencyModel.of(document)
        except UserError as error:
            raise UserError(f"'{path}' is {error}") from None


class Latency:
    """The cost function of a latency model on a Space."""

    def __init__(self, model: LatencyModel, space: Space) -> None:
        another = UserError("the latency model was measured on another network; profile this one.")
        if [operation.name for operation in space.operations] != model.operations:
            raise another
        self.terms = model.terms
        products: list[tuple[float, Sequence[Side]]] = []
        target: list[int] = []
        for number, term in enumerate(model.terms):
            for axis, sums in enumerate(term.axes):
                try:
                    products += _products(space, term, sums)
                except IndexError:
                    raise another from None
                target += [2 * number + axis] * len(sums)
        self._sizes = Cost(products)
        self._target = torch.tensor(target, dtype=torch.long)
        tables = [model.tables[term.table] for term in model.terms]
        expected = [table.expected(model.multiple) for table in model.tables]
        self._expected = Interpolation([expected[term.table] for term in model.terms])
        self._aligned = Interpolation(tables)
        self._penalties = torch.ones(len(tables), 2, BLOCK + 1, dtype=torch.float64)  # by greatest common divisor
        for number, table in enumerate(tables):
            for axis, own in enumerate(table.penalties):
                self._penalties[number, axis, list(DIVISORS)] = torch.tensor(own, dtype=torch.float64)
            if table.penalties:
                self._penalties[number, len(table.penalties) :] = 0.0  # an axis that is not there does not decide
        self._factors = torch.tensor([model.factors[term.family] for term in model.terms], dtype=torch.float64)
        self._overhead = model.constant / max(1, len(model.terms))
        self._branches = space.branches
        self._branch_variables = torch.tensor([branch.variable for branch in self._branches], dtype=torch.long)
        self._removed = torch.tensor(
            [[branch.removes(term.path) for term in model.terms] for branch in self._branches], dtype=torch.bool
        ).view(len(self._branches), len(model.terms))

    def layers(self, gates: Tensor, *, exactly: bool = False) -> Tensor:
        """Milliseconds of each of ``terms`` before calibration, shape (terms,), float64.

        Args:
            exactly: at these very widths, aligned or not; neither differentiable nor monotone.
        """
        self._move(gates.device)
        gates = gates.to(torch.float64)
        sizes = gates.new_zeros(2 * len(self.terms)).index_add(0, self._target, self._sizes.terms(gates)).view(-1, 2)
        if not exactly:
            return self._expected(sizes) * self._share_left(gates)
        divisors = torch.gcd(sizes.round().long(), torch.full_like(sizes, BLOCK, dtype=torch.long))
        penalties = self._penalties.gather(-1, divisors.unsqueeze(-1)).squeeze(-1).amax(dim=-1)
        return self._aligned(sizes) * penalties * self._share_left(gates)

    def terms_ms(self, gates: Tensor, *, exactly: bool = False) -> Tensor:
        """Milliseconds of each of ``terms``, shape (terms,), float64."""
        layers = self.layers(gates, exactly=exactly)  # first of all, since it moves the factors to the gates
        return self._factors * layers + self._overhead * self._share_left(gates)

    def __call__(self, gates: Tensor) -> Tensor:
        """Milliseconds of gate values of shape (num_gates,): a float64 scalar, differentiable in them."""
        return self.terms_ms(gates).sum()

    def _share_left(self, gates: Tensor) -> Tensor:
        """Per term the product of the gates of the branches it stands in."""
        if not self._branches:
            return gates.new_ones(len(self.terms))
        own = gates.to(torch.float64)[self._branch_variables].unsqueeze(1)
        return torch.where(self._removed, own, torch.ones_like(own)).prod(dim=0)

    def _move(self, device: torch.device) -> None:
        if self._factors.device != device:  # the gates decide where the arithmetic happens
            for name in ("_target", "_factors", "_penalties", "_branch_variables", "_removed"):
                setattr(self, name, getattr(self, name).to(device))


def _products(
    space: Space, term: Term, sums: list[tuple[float, list[tuple[int, int]]]]
) -> list[tuple[float, Sequence[Side]]]:
    operation = space.operations[term.operation]
    operands = (*operation.inputs, *operation.outputs)
    found: list[tuple[float, Sequence[Side]]] = []
    for factor, places in sums:
        sides: list[Side] = []
        for operand, dim in places:
            ids = operands[operand].sides[dim]
            sides.append(operands[operand].shape[dim] if ids is None else ids)
        found.append((factor, sides))
    return found


def _parsed(document: Mapping[str, Any]) -> LatencyModel:
    if document["format"] != FORMAT:
        raise ValueError(f"its format {document['format']}")
    tables = [_table(entry) for entry in document["tables"]]
    operations = [_text(name) for name in document["operations"]]
    terms = []
    for operation, name, path, kind, family, table, axes in document["terms"]:
        if kind not in KINDS or not 0 <= table < len(tables) or not 0 <= operation < len(operations) or len(axes) > 2:
            raise ValueError(f"its term of '{path}'")
        plain = [[(_number(f), [(int(o), int(d)) for o, d in places]) for f, places in sums] for sums in axes]
        terms.append(Term(operation, _text(name), _text(path), kind, _text(family), table, plain))
    factors = {_text(family): _number(factor) for family, factor in document["factors"].items()}
    for term in terms:
        if term.family not in factors:
            raise ValueError(f"the factor of '{term.family}'")
    measured = [{_text(what): _number(value) for what, value in row.items()} for row in document["measured"]]
    if not measured or not all(row["ms"] > 0 for row in measured):
        raise ValueError("what was measured")
    return LatencyModel(
        backend=_text(document["backend"]),
        batch=_whole(document["batch"], "batch", 2**31),
        device=_text(document["device"]),
        versions={_text(name): _text(version) for name, version in document["versions"].items()},
        threads=_whole(document["threads"], "threads", 2**31),
        multiple=_whole(document["multiple"], "multiple", MOST_MULTIPLE),
        terms=terms,
        tables=tables,
        factors=factors,
        constant=_number(document["constant"]),
        operations=operations,
        measured=measured,
        seconds=_number(document["seconds"]),
    )


def _table(entry: Mapping[str, Any]) -> Table:
    knots = tuple(tuple(map(_number, axis)) for axis in entry["knots"])
    penalties = tuple(tuple(map(_number, axis)) for axis in entry["penalties"])
    ms = np.asarray(entry["ms"], dtype=np.float64)
    fits = len(knots) <= 2 and ms.shape == tuple(map(len, knots)) and len(penalties) in (0, len(knots))
    fits = fits and all(0 < len(axis) <= MOST_KNOTS and all(a < b for a, b in pairwise(axis)) for axis in knots)
    fits = fits and all(len(axis) == len(DIVISORS) and min(axis) > 0 for axis in penalties)
    if not fits or not np.isfinite(ms).all() or (ms < 0).any():
        raise ValueError("a table")
    return Table(knots, ms, penalties)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("a number")
    return float(value)


def _whole(value: Any, what: str, largest: int) -> int:
    if type(value) is not int or not 1 <= value <= largest:
        raise ValueError(what)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a name")
    return value
