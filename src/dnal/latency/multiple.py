"""The multiple of the widths that this device likes best."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dnal.base.errors import UserError
from dnal.latency.backends import backend_of
from dnal.latency.backends.backend import Backend
from dnal.latency.measure import medians
from dnal.latency.profiling import runs_of
from dnal.latency.sample import largest
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs, at_batch

SHARE_OF_MACS = 0.5
NOISE = 0.03
"""A larger multiple must be faster by more than this share."""

SECONDS = 10.0

CANDIDATES = (1, 2, 4, 8, 16, 32)


def fastest_multiple(
    network: nn.Module,
    space: Space,
    example_inputs: Inputs,
    *,
    backend: str | Backend,
    batch: int = 1,
    candidates: Sequence[int] = CANDIDATES,
) -> int:
    """The multiple whose compact networks, uniform in width and of about half the MACs, take the least time.

    Each candidate's network is measured on the backend, all in turn; milliseconds are compared per MAC, so that a
    network that lands below half the MACs has no advantage. Within the noise the smaller multiple wins: it leaves more
    architectures to choose from.

    Raises:
        UserError: as :func:`dnal.latency.profile`, or without a candidate.
    """
    if not candidates or min(candidates) < 1 or batch < 1:
        raise UserError("the candidates for the multiple, and the batch, are 1 or more.")
    runtime = backend_of(backend)
    limit = SHARE_OF_MACS * space.full_cost["macs"]
    ordered = sorted(set(candidates))
    whole, macs = [1.0] * len(space.groups), space.costs["macs"]
    opened = [largest(space, whole, lambda o: float(macs(o)) <= limit, multiple) for multiple in ordered]
    runs = runs_of(runtime, network, space, opened, at_batch(example_inputs, batch))
    ms = medians(runs, least=9, most=60, seconds=SECONDS)
    per_mac = [own / float(space.costs["macs"](o)) for own, o in zip(ms, opened, strict=True)]
    best = min(per_mac)
    return next(multiple for multiple, rate in zip(ordered, per_mac, strict=True) if rate <= (1 + NOISE) * best)
