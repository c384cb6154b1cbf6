"""How well a latency model predicts networks that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from torch import nn

from dnal.latency.backends import backend_of
from dnal.latency.backends.backend import Backend
from dnal.latency.calibration import Array
from dnal.latency.measure import medians
from dnal.latency.model import LatencyModel
from dnal.latency.profiling import calibration_networks, runs_of
from dnal.latency.sample import open_at, random_shares
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs, at_batch


@dataclass(frozen=True)
class Assessment:
    """Predicted against measured, per architecture.

    Attributes:
        measured_ms, predicted_ms, macs: shape (architectures,).
        rank_correlation: Spearman's, of the prediction. macs_rank_correlation: of the MACs.
        error: median relative error of the prediction, both as shares of what the whole network takes: times
            ``drift``.
        macs_error: of the best line through the MACs of the networks that calibrated the model, times ``drift`` too.
        macs_error_own: of the best line through the MACs of the assessed networks themselves, which no prediction
            could know.
        error_without_drift: of the prediction as it stands.
        drift: of the machine since the calibration: what the networks that calibrated the model take now, over what
            they took then, the median.
    """

    measured_ms: Array
    predicted_ms: Array
    macs: Array
    rank_correlation: float
    macs_rank_correlation: float
    error: float
    macs_error: float
    macs_error_own: float
    error_without_drift: float
    drift: float


def assessed(
    model: LatencyModel,
    network: nn.Module,
    space: Space,
    example_inputs: Inputs,
    *,
    backend: str | Backend,
    seeds: Sequence[int],
    turns: int = 9,
    seconds: float = 30.0,
) -> Assessment:
    """Measures one random architecture per seed (each group's share drawn from U(.15, 1)), in interleaved turns.

    Args:
        seeds: other ones than those of the calibration, ``dnal.latency.profiling.CALIBRATION_SEEDS``.
        turns: at least; up to ten times as many where they fit into ``seconds``.
    """
    opened = [open_at(space, random_shares(space, seed), model.multiple) for seed in seeds]
    again = calibration_networks(space, model.multiple)
    runs = runs_of(backend_of(backend), network, space, [*again, *opened], at_batch(example_inputs, model.batch))
    ms = np.array(medians(runs, least=turns, most=10 * turns, seconds=seconds))
    measured = ms[len(again) :]
    drift = float(np.median(ms[: len(again)] / [row["ms"] for row in model.measured[: len(again)]]))
    predicted = np.array([model.predicted_ms(space, o) for o in opened])
    macs = np.array([float(space.costs["macs"](o)) for o in opened])
    known_macs = np.array([row["macs"] for row in model.measured])
    known_ms = np.array([row["ms"] for row in model.measured])
    return Assessment(
        measured_ms=measured,
        predicted_ms=predicted,
        macs=macs,
        rank_correlation=float(spearmanr(predicted, measured)[0]),
        macs_rank_correlation=float(spearmanr(macs, measured)[0]),
        error=relative_error(drift * predicted, measured),
        macs_error=relative_error(drift * line_through(known_macs, known_ms, macs), measured),
        macs_error_own=relative_error(line_through(macs, measured, macs), measured),
        error_without_drift=relative_error(predicted, measured),
        drift=drift,
    )


def relative_error(predicted: Array, measured: Array) -> float:
    """Median of |predicted - measured| / measured."""
    return float(np.median(np.abs(predicted - measured) / measured))


def line_through(macs: Array, ms: Array, at: Array) -> Array:
    """The line a + b * MACs with the least relative squared error on (macs, ms), at other MACs."""
    rows = np.column_stack((macs, np.ones_like(macs))) / ms[:, None]
    slope, constant = np.linalg.lstsq(rows, np.ones_like(ms), rcond=None)[0]
    return np.asarray(slope * at + constant, dtype=np.float64)
