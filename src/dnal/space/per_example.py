"""MACs of one example, of a network that was traced on a batch.

Nearly all products grow with the batch, and a share of each is that of an example. Those that take nothing of the
inputs may be computed once for all examples (a table of relative positions) or for each (learnt queries, repeated): a
pass on one example tells.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from dnal.base.errors import lacks_memory
from dnal.space.surgery.inputs import Inputs, at_batch, cloned
from dnal.space.surgery.running import copied, evaluating, undisturbed
from dnal.space.trace import Multiplication, Trace

logger = logging.getLogger(__name__)


def per_example(trace: Trace, network: nn.Module, inputs: Inputs) -> None:
    """Sets the products of ``trace``, a pass of ``network`` on ``inputs``, that take nothing of the inputs to what they
    cost in a pass on one example, as far as the network takes that."""
    paths = {m.path for m in trace.multiplications if m.alone}
    if trace.batch == 1 or not paths:
        return
    try:
        with undisturbed(inputs), evaluating(network):
            twin = copied(network)
            single = Trace(twin, 1, trace.rules)
            single.notes_operations = False
            single.run(twin, cloned(at_batch(inputs, 1)))
    except Exception as error:  # whatever the user's forward raises on one example
        if lacks_memory(error):
            raise
        logger.debug("the network does not run on one example: %s", error)
        return
    for path in paths:
        mine = [n for n, m in enumerate(trace.multiplications) if m.path == path]
        theirs = [m for m in single.multiplications if m.path == path]
        for n, other in zip(mine, theirs, strict=True) if len(mine) == len(theirs) else ():
            own = trace.multiplications[n]
            if own.alone:
                trace.multiplications[n] = replace(own, factor=own.factor * counted([other]) / counted([own]))


def counted(multiplications: Sequence[Multiplication]) -> float:
    """How many multiply-accumulates these are in the whole network."""
    return sum(
        m.factor * math.prod(side if isinstance(side, int) else side.size(0) for side in m.sides)
        for m in multiplications
    )
