"""The latency of a network on one device, as a function of its gates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnal.base.atomic import write_text
from dnal.base.errors import UserError
from dnal.latency.grid import BLOCK, DIVISORS, Interpolation, Table
from dnal.latency.layers import KINDS
from dnal.space.cost import Cost, CostFunction, Side
from dnal.space.space import Space

FORMAT = 3


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
            UserError: where the disk refuses.
        """
        write_text(Path(path), json.dumps(self.document(), separators=(",", ":")) + "\n")

    @staticmethod
    def of(document: Mapping[str, Any]) -> LatencyModel:
        """The model of a :meth:`document`.

        Raises:
            UserError: if it is no latency model.
        """
        try:
            return _parsed(document)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(f"no latency model: it lacks or garbles {error}.") from None

    @staticmethod
    def load(path: str | Path) -> LatencyModel:
        """Reads what :meth:`save` wrote.

        Raises:
            UserError: if the file is missing or holds no latency model.
        """
        path = Path(path)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read the latency model '{path}': {error.strerror}.") from None
        except (ValueError, RecursionError):
            raise UserError(f"'{path}' is no latency model: it is no JSON.") from None
        try:
            return LatencyModel.of(document)
        except UserError as error:
            raise UserError(f"'{path}' is {error}") from None


class Latency:
    """The cost function of a latency model on a Space."""

    def __init__(self, model: LatencyModel, space: Space) -> None:
        if [operation.name for operation in space.operations] != model.operations:
            raise UserError("the latency model was measured on another network; profile this one.")
        self.terms = model.terms
        products: list[tuple[float, Sequence[Side]]] = []
        target: list[int] = []
        for number, term in enumerate(model.terms):
            for axis, sums in enumerate(term.axes):
                products += _products(space, term, sums)
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


def _numbers(rows: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in rows)


def _parsed(document: Mapping[str, Any]) -> LatencyModel:
    if document["format"] != FORMAT:
        raise ValueError(f"its format {document['format']}")
    tables = [
        Table(_numbers(t["knots"]), np.asarray(t["ms"], dtype=np.float64), _numbers(t["penalties"]))
        for t in document["tables"]
    ]
    terms = []
    for operation, name, path, kind, family, table, axes in document["terms"]:
        if kind not in KINDS or not 0 <= table < len(tables) or not 0 <= operation < len(document["operations"]):
            raise ValueError(f"its term of '{path}'")
        plain = [[(float(f), [(int(o), int(d)) for o, d in places]) for f, places in sums] for sums in axes]
        terms.append(Term(operation, str(name), str(path), kind, str(family), table, plain))
    factors = {str(family): float(factor) for family, factor in document["factors"].items()}
    for term in terms:
        if term.family not in factors:
            raise ValueError(f"the factor of '{term.family}'")
    return LatencyModel(
        backend=str(document["backend"]),
        batch=int(document["batch"]),
        device=str(document["device"]),
        versions=dict(document["versions"]),
        threads=int(document["threads"]),
        multiple=int(document["multiple"]),
        terms=terms,
        tables=tables,
        factors=factors,
        constant=float(document["constant"]),
        operations=list(document["operations"]),
        measured=list(document["measured"]),
        seconds=float(document["seconds"]),
    )
