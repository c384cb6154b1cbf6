"""profile: the latency model of a network on this machine."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from dnal.architecture.architecture import Architecture
from dnal.architecture.compact import compact
from dnal.base.errors import UserError
from dnal.latency.backends import backend_of
from dnal.latency.backends.backend import Backend
from dnal.latency.batch import Axes, operations_at, places_in
from dnal.latency.cache import Cache
from dnal.latency.calibration import Array, calibrated
from dnal.latency.grid import Table, rounded
from dnal.latency.layers import Layer, Shapes, Use, uses_of
from dnal.latency.measure import Run, medians
from dnal.latency.model import Latency, LatencyModel, Term
from dnal.latency.sample import open_at, random_shares
from dnal.latency.timing import Grid, timed
from dnal.space.operations import Operation
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs, at_batch

CALIBRATION_SEEDS = range(1000, 1012)
"""Of the random architectures that calibrate; a test of a model takes others."""

UNIFORM_SHARES = (1.0, 0.75, 0.5, 0.3)
"""Of the groups in the further networks that calibrate: budgets lead there, random architectures hardly do."""

TURNS = (5, 60)
CALIBRATION_SECONDS = 30.0
MEASURE_SECONDS = 3.0
LAYER_TURNS = (3, 31)
LAYER_SECONDS = 1.0

Progress = Callable[[str, int, int], None]
"""Called with what is being timed, how much of it is done and how much there is."""


def measured_ms(networks: Sequence[nn.Module], example: Inputs, backend: str | Backend) -> list[float]:
    """Median milliseconds of each network on the example inputs (their batch included), over interleaved turns: 9, or
    as many as fit into a few seconds, so that a short disturbance does not decide.

    Raises:
        UserError: as :func:`profile`.
    """
    found = backend_of(backend)
    return medians([found.network(network, example) for network in networks], least=9, most=99, seconds=MEASURE_SECONDS)


def layers_ms(networks: Sequence[nn.Module], example: Inputs, backend: str | Backend) -> list[dict[str, float]]:
    """Median milliseconds of each network's modules that contain no others, by their paths, in the order of the forward
    pass, over interleaved turns; nothing where the backend does not tell.

    Raises:
        UserError: as :func:`profile`.
    """
    runs = [backend_of(backend).layers(network, example) for network in networks]
    times: list[dict[str, list[float]]] = [{} for _ in networks]
    begun, turn = time.perf_counter(), 0
    while None not in runs and (turn < LAYER_TURNS[0] or _more(turn, begun)):
        for run, own in zip(runs, times, strict=True):
            assert run is not None
            for path, ms in run().items():
                own.setdefault(path, []).append(ms)
        turn += 1
    return [{path: statistics.median(ms) for path, ms in own.items()} for own in times]


def _more(turn: int, begun: float) -> bool:
    return turn < LAYER_TURNS[1] and time.perf_counter() - begun < LAYER_SECONDS


def profile(
    network: nn.Module,
    space: Space,
    example_inputs: Inputs,
    *,
    backend: str | Backend = "torch-cpu",
    batch: int = 1,
    multiple: int = 1,
    cache: bool = True,
    progress: Progress | None = None,
) -> LatencyModel:
    """Times the layers of ``network`` over a grid of widths, and calibrates their sum against whole networks.

    Args:
        space: of this network. example_inputs: as for ``Space.of``; repeated to ``batch``.
        backend: "torch-cpu", "torch-cuda" or "onnxruntime-cpu".
        multiple: of the widths that will be asked for; kernels like some widths better than others.
        cache: read and write the layers' times in $XDG_CACHE_HOME/dnal or ~/.cache/dnal.
        progress: called with what is being timed, how much of it is done and how much there is.

    Raises:
        UserError: on an unknown backend, one that this machine lacks, a batch or multiple below 1, or a network that
            the backend cannot take.
    """
    if batch < 1 or multiple < 1:
        raise UserError(f"batch and multiple are 1 or more, not {batch} and {multiple}.")
    tell = progress or (lambda what, done, total: None)
    begun = time.perf_counter()
    runtime = backend_of(backend)
    operations, shapes = operations_at(network, space, example_inputs, batch)
    uses = _uses(runtime, network, operations, shapes)
    places = places_in(space, operations, uses, batch)
    terms, tables = _timed(runtime, operations, uses, places, multiple, Cache(runtime) if cache else None, tell)
    families = sorted({term.family for term in terms})
    unscaled = LatencyModel(
        backend=runtime.name,
        batch=batch,
        device=runtime.device,
        versions=runtime.versions,
        threads=runtime.threads,
        multiple=multiple,
        terms=terms,
        tables=tables,
        factors=dict.fromkeys(families, 1.0),
        constant=0.0,
        operations=[operation.name for operation in space.operations],
        measured=[],
        seconds=0.0,
    )
    opened = calibration_networks(space, multiple)
    tell("networks", 0, len(opened))
    runs = runs_of(runtime, network, space, opened, at_batch(example_inputs, batch))
    ms = medians(runs, least=TURNS[0], most=TURNS[1], seconds=CALIBRATION_SECONDS, warm_up=1)
    return replace(fitted(unscaled, space, opened, ms), seconds=time.perf_counter() - begun)


def calibration_networks(space: Space, multiple: int) -> list[Tensor]:
    """The open variables, (num_gates,), of the networks that calibrate a profile; the whole network is the first."""
    shares: list[float | list[float]] = [*UNIFORM_SHARES, *(random_shares(space, seed) for seed in CALIBRATION_SEEDS)]
    return [open_at(space, own, multiple) for own in shares]


def fitted(
    model: LatencyModel, space: Space, opened: Sequence[Tensor], ms: Sequence[float], weights: Array | None = None
) -> LatencyModel:
    """The model with the factors and the constant that suit what these networks take, ``ms``; ``weights``: how often
    each counts."""
    families = sorted(model.factors)
    cost, numbers = Latency(model, space), [families.index(term.family) for term in model.terms]

    def summed(open_variables: Tensor) -> Array:
        layers = cost.layers(open_variables, exactly=True).numpy()
        return np.asarray(np.bincount(numbers, weights=layers, minlength=len(families)), dtype=np.float64)

    sums = np.stack([summed(o) for o in opened])
    factors, constant = calibrated(sums, np.array(ms), weights)
    predicted = sums @ factors + constant
    return replace(
        model,
        factors=dict(zip(families, factors.tolist(), strict=True)),
        constant=constant,
        measured=[
            {"ms": own, "predicted_ms": guess, "macs": float(space.costs["macs"](o))}
            for own, guess, o in zip(ms, predicted.tolist(), opened, strict=True)
        ],
    )


def runs_of(backend: Backend, network: nn.Module, space: Space, opened: Sequence[Tensor], inputs: Inputs) -> list[Run]:
    """Calls that run the compact network of each set of open variables, (num_gates,)."""
    found = []
    for open_variables in opened:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing is removed, where nothing shall be
            found.append(backend.network(compact(network, Architecture.of(space, open_variables), check=False), inputs))
    return found


def _uses(
    backend: Backend, network: nn.Module, operations: Sequence[Operation], shapes: Sequence[tuple[Shapes, Shapes]]
) -> list[Use | None]:
    modules = dict(network.named_modules())
    images = [p for p in network.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
    return uses_of(
        operations,
        shapes,
        fuses=backend.fuses,
        channels_last=any(not p.is_contiguous() and p.is_contiguous(memory_format=torch.channels_last) for p in images),
        in_place=lambda path: bool(getattr(modules.get(path), "inplace", False)),
    )


def _timed(
    backend: Backend,
    operations: Sequence[Operation],
    uses: Sequence[Use | None],
    places: Sequence[tuple[int, Axes]],
    multiple: int,
    cache: Cache | None,
    tell: Progress,
) -> tuple[list[Term], list[Table]]:
    """The operations that take time, and the tables of their layers."""
    layers: dict[str, Layer] = {}
    grids: dict[str, Grid] = {}
    for number, use in enumerate(uses):
        if use is not None and use.layer.key not in layers:
            layers[use.layer.key] = use.layer
            grids[use.layer.key] = Grid.of(
                use.layer,
                multiple,
                lambda share, n=number, use=use: _elements(operations[n], use, share, multiple),  # type: ignore[misc]
            )
    found: dict[str, Table | None] = {}
    try:
        for done, (key, layer) in enumerate(layers.items()):
            tell("layers", done, len(layers))
            found[key] = timed(backend, layer, grids[key], cache)
    finally:
        if cache is not None:
            cache.save()
    rate = _rate([table for key, table in found.items() if table is not None and not layers[key].by_width])
    tables = [table or _by_elements(grids[key], rate) for key, table in found.items()]
    numbers = {key: number for number, key in enumerate(found)}
    terms = [
        Term(
            operation=number,
            name=use.layer.operation,
            path=use.path,
            kind=use.layer.kind,
            family=use.layer.family,
            table=numbers[use.layer.key],
            axes=axes,
        )
        for use, (number, axes) in zip(uses, places, strict=True)
        if use is not None
    ]
    return terms, tables


def _elements(operation: Operation, use: Use, share: float, multiple: int) -> float:
    """How many elements an operation touches where every size that varies has this share."""
    operands = (*operation.inputs, *operation.outputs)
    total = 0.0
    for factor, places in use.axes[0]:
        for operand, dim in places:
            factor *= rounded(operands[operand].shape[dim], share, multiple)
        total += factor
    return total


def _rate(tables: Sequence[Table]) -> float:
    """Milliseconds per element where the whole network's layers were timed."""
    elements = sum(table.knots[0][-1] for table in tables)
    return sum(float(table.ms[-1]) for table in tables) / elements if elements else 0.0


def _by_elements(grid: Grid, rate: float) -> Table:
    """The table of a layer that does not run by itself: as if it only moved its elements."""
    if len(grid.knots) != 1:
        return Table(((0.0,),), np.zeros(1))
    return Table.of(grid.knots, rate * np.array(grid.knots[0]))
