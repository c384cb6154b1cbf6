"""A latency model that is right where a budget leads: calibrated on networks at the bound too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from dnal.latency.backends import backend_of
from dnal.latency.backends.backend import Backend
from dnal.latency.measure import medians
from dnal.latency.model import LatencyModel
from dnal.latency.profiling import TURNS, Progress, calibration_networks, fitted, runs_of
from dnal.latency.sample import largest, random_shares
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs, at_batch

SEEDS = (2000, 2001)
"""Of the random architectures at a bound; one of uniform widths stands beside them."""

ANCHORS = 4
"""Networks of the calibration that are measured again beside them, those that take nearest to the bound: the machine
may have changed its pace since, and not by the same share for small networks and large ones."""

ROUNDS, CLOSE = 3, 0.05
"""At most; the last is the one whose networks take what was predicted, up to this share in the median."""

SECONDS = 10.0
"""Of a round, after its least number of turns."""


def focused(
    model: LatencyModel,
    network: nn.Module,
    space: Space,
    example_inputs: Inputs,
    bounds: Sequence[float],
    *,
    backend: str | Backend,
    progress: Progress | None = None,
) -> LatencyModel:
    """Measures networks that the model puts at each bound, and calibrates it with them beside those it had.

    Random architectures, which calibrate a profile, are not as narrow as a tight bound asks for; what is a few percent
    among them can be ten there.

    Args:
        model: as ``dnal.latency.profile`` made it, of ``network``, ``space`` and ``example_inputs``, on ``backend``.
        bounds: in milliseconds. One that no widths keep, or that the whole network kept, is left out.
        progress: called with what is being timed, how much of it is done and how much there is.
    """
    begun = time.perf_counter()
    runtime, inputs = backend_of(backend), at_batch(example_inputs, model.batch)
    known = calibration_networks(space, model.multiple)
    opened, ms = list(known), [row["ms"] for row in model.measured[: len(known)]]
    then = np.array(ms)
    for turn in range(ROUNDS):
        near = {bound: own for bound in bounds if bound < model.base_ms and (own := _at(model, space, bound))}
        if not near:
            break
        if progress is not None:
            progress("networks at the bound", turn, ROUNDS)
        anchors = {bound: np.argsort(np.abs(np.log(then / bound)))[:ANCHORS] for bound in near}
        tried = [o for bound, own in near.items() for o in [*(known[number] for number in anchors[bound]), *own]]
        runs = runs_of(runtime, network, space, tried, inputs)
        now = iter(medians(runs, least=TURNS[0], most=TURNS[1], seconds=SECONDS, warm_up=1))
        errors = []
        for bound, own in near.items():
            drift = float(np.median([next(now) / then[number] for number in anchors[bound]]))
            for o in own:
                taken = next(now) / drift
                errors.append(abs(model.predicted_ms(space, o) / taken - 1))
                opened.append(o)
                ms.append(taken)
        # the new ones count as much as those of the profile do together
        weights = np.repeat([1.0, len(known) / (len(opened) - len(known))], [len(known), len(opened) - len(known)])
        model = fitted(model, space, opened, ms, weights)
        if np.median(errors) <= CLOSE:
            break
    return replace(model, seconds=model.seconds + time.perf_counter() - begun)


def _at(model: LatencyModel, space: Space, bound: float) -> list[Tensor]:
    """Networks that the model puts at a bound, of uniform and of random widths: those of them that are within it."""

    def fits(open_variables: Tensor) -> bool:
        return model.predicted_ms(space, open_variables) <= bound

    shares = [[1.0] * len(space.groups), *(random_shares(space, seed) for seed in SEEDS)]
    return [o for own in shares if fits(o := largest(space, own, fits, model.multiple))]
