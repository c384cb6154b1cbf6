"""Whether a compact network computes what the original computes with its closed slices at zero.

The Space was found along one path through the code. A forward pass that chooses its path by the data may take another
one here, and a compact network that is wrong on it must not be handed out.
"""

from __future__ import annotations

import logging
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dnal.base.errors import lacks_memory
from dnal.space.fast_path import may_take_it
from dnal.space.probe import agree_where_sure
from dnal.space.selections import Recorded, all_close, repeats
from dnal.space.silence import moved, shown
from dnal.space.surgery.bake import baked
from dnal.space.surgery.example import Draw, Example, made
from dnal.space.surgery.inputs import cloned
from dnal.space.surgery.remove import Kept
from dnal.space.surgery.running import call, comparable, copied, evaluating, runs_in_training
from dnal.space.surgery.tensors import answers
from dnal.space.surgery.zeros import call_zeroed
from dnal.space.twins import HALF, weightless

logger = logging.getLogger(__name__)

NOISES: dict[str, Draw] = {
    "normal": lambda shape, generator: torch.randn(shape, generator=generator),
    "opposite": lambda shape, generator: -torch.randn(shape, generator=generator),
    "positive": lambda shape, generator: torch.rand(shape, generator=generator),
}
"""What floating-point inputs are drawn from; the last one for an original that computes nothing finite from the others
(a logarithm wants positive inputs)."""


class Unusable(Exception):
    """A comparison that shows nothing, on any input that was tried; the message says why."""


def agrees(network: nn.Module, small: nn.Module, kept: Kept, example: Example) -> bool:
    """Compares the two on noise of the description ``example`` and on its negative (a path is often chosen by a sign),
    in eval mode. Works on copies; neither network nor the global random state changes.

    Raises:
        Unusable: if the original does not run on noise, or computes the same without its weights.
    """
    device = next((t.device for t in chain(network.parameters(), network.buffers())), torch.device("cpu"))
    complaints, compared, shows = [], False, False
    for name, draw in NOISES.items():
        if name == "positive" and shows:
            break
        inputs = made(example, draw, torch.Generator().manual_seed(0), device)
        with comparable(inputs):
            both = _copies(network, small, kept, torch.float32)
            try:
                reference = _outputs(both[0], kept, inputs, torch.float32)
            except Exception as error:  # whatever the user's forward raises
                if lacks_memory(error):
                    raise
                complaints.append(str(error).strip() or type(error).__name__)
                continue
            if not reference or not all(bool(out.isfinite().all()) for out in reference):
                complaints.append("its outputs are not finite" if reference else "it returns nothing")
                continue
            compared = True
            if not _agree(network, small, both, kept, inputs, reference):
                return False
            if may_take_it(network) and not _agree_as_run(network, small, kept, inputs):
                return False
            shows = shows or _shows(both, kept, inputs, reference)
    if not compared:
        raise Unusable(f"the original network does not run on noise ({complaints[0]})")
    if not shows:
        raise Unusable("the original network gives the same on noise whatever its weights are")
    return True


def _shows(both: Pair, kept: Kept, inputs: Any, reference: list[Tensor]) -> bool:
    """Whether the weights decide about what is compared; where only about what selections are made from, these are
    compared here."""

    def run(network: nn.Module, kept: Kept | None) -> list[Tensor]:
        return _outputs(network, kept, inputs, torch.float32)

    try:
        nothing = shown(lambda: run(weightless(both[0]), kept))
    except Exception as error:  # whatever the user's forward raises without weights
        if lacks_memory(error):
            raise
        return True
    if any(moved(reference, nothing.outputs)):
        return True
    recorded = Recorded()
    with recorded:
        run(both[0], kept)
    inside = [t for choice in recorded.selections for t in choice.given if t.is_floating_point()]
    return any(moved(inside, nothing.inside)) and repeats(reference, recorded.selections, lambda: run(both[1], None))


def fails_in_training(network: nn.Module, small: nn.Module, example: Example) -> Exception | None:
    """What the compact network raises in training mode on noise where the original runs. Works on copies."""
    device = next((t.device for t in chain(network.parameters(), network.buffers())), torch.device("cpu"))
    for draw in NOISES.values():
        inputs = made(example, draw, torch.Generator().manual_seed(0), device)
        with comparable(inputs):
            if runs_in_training(copied(network), inputs) is None:
                return runs_in_training(copied(small), inputs)
    return None


Pair = tuple[nn.Module, nn.Module]


def _agree(network: nn.Module, small: nn.Module, both: Pair, kept: Kept, inputs: Any, reference: list[Tensor]) -> bool:
    """A difference in single precision may be rounding (in a network that amplifies it, in TF32), or another choice
    among detections that are nearly equal; double precision decides, with the same choices made."""
    if _same(reference, both[1], inputs, torch.float32):
        return True
    double = _copies(network, small, kept, torch.float64)
    for (original, twin), dtype in ((both, torch.float32), (double, torch.float64)):
        recorded = Recorded()
        try:
            with recorded:
                reference = _outputs(original, kept, inputs, dtype)
        except Exception as error:  # a network that insists on single precision
            if lacks_memory(error):
                raise
            logger.debug("the network does not run in double precision: %s", error)
            return False
        if dtype == torch.float64 and _same(reference, twin, inputs, dtype):
            return True
        if _same(reference, twin, inputs, dtype, recorded):
            return True
    return False


def _agree_as_run(network: nn.Module, small: nn.Module, kept: Kept, inputs: Any) -> bool:
    """The same where torch takes its fast path, wherever that gives the original's usual results."""
    for dtype in (torch.float32, torch.float64):
        original, compact = _copies(network, small, kept, dtype)
        try:
            usual = _outputs(original, kept, inputs, dtype)
            reference = _outputs(original, kept, inputs, dtype, fast_path=True)
        except Exception as error:  # the original itself does not run in this way
            if lacks_memory(error):
                raise
            logger.debug("the network does not take torch's fast path: %s", error)
            return dtype == torch.float32
        try:
            result = _outputs(compact, None, inputs, dtype, fast_path=True)
        except Exception as error:  # the original ran
            if lacks_memory(error):
                raise
            logger.debug("the compact network fails on torch's fast path: %s", error)
            return False
        if agree_where_sure(usual, reference, result):
            return True
    return False


def _same(
    reference: list[Tensor], small: nn.Module, inputs: Any, dtype: torch.dtype, recorded: Recorded | None = None
) -> bool:
    def run() -> list[Tensor]:
        return _outputs(small, None, inputs, dtype)

    try:
        if recorded is not None:
            return repeats(reference, recorded.selections, run)
        return all_close(reference, run())
    except Exception as error:  # the original ran
        if lacks_memory(error):
            raise
        logger.debug("the compact network fails: %s", error)
        return False


def _copies(network: nn.Module, small: nn.Module, kept: Kept, dtype: torch.dtype) -> Pair:
    """Both networks, to run and change: with the weights they have computed where those are plain in the compact one,
    and in a precision in which rounding is below the tolerance."""
    original = baked(network, kept.baked) if kept.baked else copied(network)
    pair = (original, copied(small))
    for one in pair:
        if dtype == torch.float64:
            one.double()
        elif any(p.dtype in HALF for p in one.parameters()):
            one.float()
    return pair


def _outputs(
    network: nn.Module, kept: Kept | None, inputs: Any, dtype: torch.dtype, *, fast_path: bool = False
) -> list[Tensor]:
    """The outputs; with ``kept`` those of the network whose closed slices are zero."""
    wide = dtype == torch.float64

    def widened(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() and (wide or tensor.dtype in HALF) else tensor

    inputs = tree_map_only(Tensor, widened, cloned(inputs))
    with evaluating(network, fast_path=fast_path):
        torch.manual_seed(1)  # a network may draw numbers, the same ones in both
        if kept is None:
            return answers(call(network, inputs))
        return answers(call_zeroed(network, kept, inputs))
