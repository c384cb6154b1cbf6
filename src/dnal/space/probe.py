"""Numeric probing: remove a part of every group, then all but one channel, and compare with the network whose slices
are zero.

Labels are a theory; the numbers decide. A group whose removal changes the output (or crashes) is found by bisection and
frozen. Shapes alone would not do: a rewritten size that happens to fit, or a buffer that broadcasts, gives the right
shape and wrong numbers.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from dnal.base.errors import lacks_memory
from dnal.space.fast_path import may_take_it
from dnal.space.fit import fit, used_rewrites
from dnal.space.selections import TOLERANCE, Recorded, all_close, close, repeats
from dnal.space.silence import Shown, moved, shown
from dnal.space.surgery.bypass import Bypass
from dnal.space.surgery.inputs import Inputs, batch_size, cloned, for_each_example, offer_others
from dnal.space.surgery.remove import Kept, kept_indices, removed
from dnal.space.surgery.running import call, comparable, copied, evaluating, runs_in_training
from dnal.space.surgery.sizes import Change, Seen, SizeRule
from dnal.space.surgery.tensors import answers
from dnal.space.surgery.zeros import call_zeroed
from dnal.space.twins import finite, finite_outputs, noise, randomised, redrawn, tries
from dnal.space.variables import Sources

logger = logging.getLogger(__name__)

REMEMBERED = 4
"""Outputs with zeroed slices that are kept, since the same channels are tried with several corrections."""

DRAWS = (1, 2, 3)
"""Of random weights, where those of the network let nothing show."""

Check = Callable[[Kept], bool]


class Probe:
    """A randomised copy of a network and noise to run it on."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        self._given = network, inputs
        self._forget()
        self._selects = True  # as far as is known
        self._inside = False  # whether only what selections are made from shows what was removed
        with comparable(inputs), evaluating(network):
            torch.manual_seed(0)
            self.network, self.inputs, self._whole = next(tries(randomised(network), inputs))

    def _forget(self) -> None:
        """Nothing is known yet of this network on these inputs."""
        self._whole = None  # its outputs
        self._references: dict[int, list[Tensor]] = {}
        self._judged: dict[tuple[int, frozenset[Change]], tuple[bool, set[tuple[str, Any]]]] = {}

    def _on(self, network: nn.Module, inputs: Inputs, outputs: list[Tensor] | None = None) -> Probe:
        """The same probe of another network or on other inputs; its ``outputs``, where they are known."""
        probe = copy.copy(self)
        probe.network, probe.inputs = network, inputs
        probe._forget()
        probe._whole = outputs
        return probe

    @cached_property
    def elsewhere(self) -> list[Probe]:
        """The same network on noise of another batch and size, as far as it takes those."""
        found: list[Probe] = []
        with comparable(self.inputs):
            first = self._whole
            if first is None or not finite(first):
                first = finite_outputs(self.network, self.inputs)

            def takes(other: Inputs) -> bool:
                for tried in (noise(other), other):
                    outputs = finite_outputs(self.network, tried)
                    batches = batch_size(self.inputs), batch_size(tried)
                    if first is not None and outputs is not None and for_each_example(first, outputs, batches):
                        found.append(self._on(self.network, tried))
                        return True
                return False

            offer_others(self.inputs, takes)
        return found

    def silent(self, without: Callable[[Sequence[int]], Kept], count: int) -> list[int]:
        """Which of ``count`` removals move nothing that is compared, so that no number can decide about them. Where
        there are any, other inputs are tried, then weights that are drawn again, and those are taken from here on that
        leave the fewest.

        Args:
            without: what stays without some of the removals.
        """
        silent: list[int] | None = None
        with comparable(self.inputs), evaluating(self.network):
            for network, inputs, outputs in self._others() if count else ():
                tried = self._on(network, inputs, outputs)
                if silent is not None and (
                    finite_outputs(network, inputs) is None or tried._silent(without, silent) == silent
                ):
                    continue
                found = tried._silent(without, range(count))
                if silent is None or len(found) < len(silent):
                    silent, self.network, self.inputs = found, network, inputs
                    self._inside, self._whole, self._references = tried._inside, tried._whole, tried._references
                if not silent:
                    break
        return silent or []

    def _silent(self, without: Callable[[Sequence[int]], Kept], numbers: Sequence[int]) -> list[int]:
        def left(chosen: Sequence[int]) -> Shown | None:
            try:
                return shown(lambda: self._zeroed(without(chosen)))
            except Exception as error:  # whatever the user's forward raises on zeros
                if lacks_memory(error):
                    raise
                logger.debug("the network does not run without some weights: %s", error)
                return None

        with evaluating(self.network):
            try:
                self._whole = self._whole or self._run(self.network)
                if all(moved(self._whole, self._reference(without(numbers)))):
                    return []
            except Exception as error:  # here too
                if lacks_memory(error):
                    raise
                logger.debug("the network does not run without its weights: %s", error)
                return []
            whole, silent = left(()), []
            for number in numbers:  # an output may be none of the channels' business: an anchor, a mask
                one = left([number])
                if one is None or whole is None or any(moved(whole.outputs, one.outputs)):
                    continue
                if any(moved(whole.inside, one.inside)):
                    self._inside = True
                else:
                    silent.append(number)
        return silent

    def _others(self) -> Iterator[tuple[nn.Module, Inputs, list[Tensor] | None]]:
        """The network and inputs as they are, then others to look at, and what they compute, where that is known."""
        yield self.network, self.inputs, self._whole
        network, inputs = self._given
        yield from tries(self.network, inputs)
        for seed in DRAWS:
            torch.manual_seed(seed)
            yield from tries(randomised(redrawn(network)), inputs)

    def failing_groups(
        self,
        check: Check,
        sources: Sources,
        sizes: Sequence[SizeRule],
        groups: Sequence[Tensor],
        off: Sequence[Tensor],
        variables: int,
    ) -> list[int]:
        """The groups from which removing the variables ``off`` does not pass ``check``, a method of this probe. One
        probe if all do; else by bisection."""

        def holds(chosen: Sequence[int]) -> bool:
            return check(kept_indices(sources, open_without(off, chosen, variables), sizes))

        return self._failing(holds, len(groups))

    def failing_bypasses(
        self, sources: Sources, sizes: Sequence[SizeRule], bypasses: Sequence[Bypass], open_variables: Tensor
    ) -> list[int]:
        """The branches that cannot be left out of the network with exactly ``open_variables``: what it computes would
        be wrong, or its gradients lost where an activation works in place on what is now another one's result."""

        def exact(chosen: Sequence[int]) -> bool:
            kept = kept_indices(sources, open_variables, sizes, [bypasses[i] for i in chosen])
            if not self.exact(kept) or not self.exact_as_run(kept):
                return False
            return not trains or runs_in_training(removed(self.network, kept), self.inputs, gradients=True) is None

        # A candidate that is gone, and zeros, are nothing to write into.
        passing = any(replacement.kind in ("chain", "first") for one in bypasses for replacement in one.modules)
        with comparable(self.inputs):
            trains = passing and runs_in_training(copied(self.network), self.inputs, gradients=True) is None
        return self._failing(exact, len(bypasses))

    def _failing(self, exact: Callable[[Sequence[int]], bool], count: int) -> list[int]:
        failing: list[int] = []
        remaining = list(range(count))
        known: dict[frozenset[int], bool] = {}

        def tried(chosen: Sequence[int]) -> bool:
            key = frozenset(chosen)
            if key not in known:
                known[key] = exact(chosen)
            return known[key]

        with comparable(self.inputs):
            while remaining and not tried(remaining):
                culprits = _bisect(tried, remaining)
                failing += culprits
                remaining = [g for g in remaining if g not in set(culprits)]
        return sorted(failing)

    def fitted(
        self,
        sources: Sources,
        sizes: Sequence[SizeRule],
        groups: Sequence[Tensor],
        variables: int,
        elsewhere: Callable[[], list[Seen]],
    ) -> list[SizeRule]:
        """The numbers of the code that need a correction, as attributes of their modules where that is enough."""
        masks = []
        for phase in (0.0, 0.5):
            masks.append(torch.ones(variables, dtype=torch.bool))
            for off in uneven(groups, phase):
                masks[-1][off] = False

        def used(rules: Sequence[SizeRule]) -> set[tuple[str, Any]] | None:
            """The corrected calls that were needed; None if the network is not exact."""
            found: set[tuple[str, Any]] = set()
            for mask in masks:
                kept = kept_indices(sources, mask, rules)
                if not self.exact(kept, found):
                    return None
            return found

        with comparable(self.inputs):
            return fit(self.network, sizes, variables, used, elsewhere)

    def exact(self, kept: Kept, used: set[tuple[str, Any]] | None = None) -> bool:
        """Whether the network without its closed channels computes what it computes with their slices at zero. The
        corrected numbers that this needed are added to ``used``."""
        key = _key(kept), frozenset(kept.sizes)
        if key not in self._judged:
            with evaluating(self.network):
                self._judged[key] = self._compared(kept)
        exact, needed = self._judged[key]
        if used is not None:
            used |= needed
        return exact

    def _compared(self, kept: Kept) -> tuple[bool, set[tuple[str, Any]]]:
        """:meth:`exact`, and the corrected numbers that it needed."""
        used: set[tuple[str, Any]] = set()
        try:
            small = removed(self.network, kept)
            result = self._run(small)  # most of what is wrong ends here, without the run of the whole network
            used = used_rewrites(small)
        except Exception as error:  # whatever the user's forward raises on smaller tensors: the group stays
            if lacks_memory(error):
                raise
            logger.debug("a probe failed: %s", error)
            return False, used
        reference = self._reference(kept)
        try:
            return (all_close(reference, result) and not self._inside) or self._repeats(kept, small), used
        except Exception as error:  # here too
            if lacks_memory(error):
                raise
            logger.debug("a probe failed: %s", error)
            return False, used

    def _run(self, network: Callable[..., Any]) -> list[Tensor]:
        torch.manual_seed(1)  # a network may draw numbers, the same ones in every pass
        return answers(call(network, cloned(self.inputs)))

    def _repeats(self, kept: Kept, small: nn.Module) -> bool:
        """Whether the compact network is exact where it makes the same choices among detections."""
        if not self._selects:
            return False
        recorded = Recorded()
        with recorded:
            reference = self._zeroed(kept)
        self._selects = bool(recorded.selections)
        return repeats(reference, recorded.selections, lambda: self._run(small))

    def _zeroed(self, kept: Kept) -> list[Tensor]:
        torch.manual_seed(1)  # as in _run
        return answers(call_zeroed(self.network, kept, cloned(self.inputs)))

    def exact_as_run(self, kept: Kept) -> bool:
        """The same where torch takes its fast path, as far as that gives the original's own results: where it leaves
        out what is padding, the two may differ."""
        if not may_take_it(self.network):
            return True
        with evaluating(self.network):
            usual = self._reference(kept)
        with evaluating(self.network, fast_path=True):
            try:
                reference = self._zeroed(kept)
            except Exception as error:  # the original itself does not run in this way
                if lacks_memory(error):
                    raise
                logger.debug("the network does not take torch's fast path: %s", error)
                return True
            try:
                torch.manual_seed(1)
                result = answers(call(removed(self.network, kept), cloned(self.inputs)))
            except Exception as error:  # whatever code that asks a module for what it no longer has raises
                if lacks_memory(error):
                    raise
                logger.debug("a probe failed on torch's fast path: %s", error)
                return False
        return agree_where_sure(usual, reference, result)

    def trains(self, kept: Kept) -> bool:
        """Whether the network without its closed channels runs in training mode, in code that may run only there, as
        far as the whole one does. Numbers are not compared: a dropout draws others."""
        # Nearly every network trains without them: asked first, it saves the training pass of the whole network.
        return runs_in_training(removed(self.network, kept), self.inputs) is None or not self._trains

    @cached_property
    def _trains(self) -> bool:
        return runs_in_training(copied(self.network), self.inputs) is None

    def _reference(self, kept: Kept) -> list[Tensor]:
        """The outputs with zeroed slices; those of the latest channels asked for are remembered."""
        key = _key(kept)
        if key not in self._references:
            outputs = self._zeroed(kept)
            while len(self._references) >= REMEMBERED:
                del self._references[next(iter(self._references))]
            self._references[key] = outputs
        return self._references[key]


def _key(kept: Kept) -> int:
    """What tells apart which channels and branches are kept."""
    indices = tuple((n, d, i.numpy().tobytes()) for n, x in kept.items() for d, i in enumerate(x) if i is not None)
    return hash((indices, tuple(kept.bypasses)))


def uneven(groups: Sequence[Tensor], phase: float = 0.0) -> list[Tensor]:
    """A part of every group, 10 to 90 %, but another share of each: equal shares would hide a size that the network
    computes from another group's."""
    generator = torch.Generator().manual_seed(round(1000 * phase))
    off = []
    for number, group in enumerate(groups):
        share = 0.1 + 0.8 * ((0.618034 * (number + 1) + phase) % 1)  # golden ratio: neighbours differ, no two are equal
        count = min(max(1, round(share * len(group))), len(group) - 1)
        off.append(group[torch.randperm(len(group), generator=generator)[:count]])
    return off


def told_apart(
    groups: Sequence[Tensor], phase: float = 0.0, besides: Sequence[Sequence[Tensor]] = ()
) -> list[list[Tensor]]:
    """What leaves of the groups: a part of each; then, of any two, in some choice a part of one and nothing of the
    other, so that no two widths are equal by chance in all of them.

    Args:
        besides: choices that are tried too. Two groups of which one of these leaves different shares are apart already,
            and their widths, and the same multiples of those, with them.
    """
    off = uneven(groups, phase)
    alike: dict[tuple[Fraction, ...], list[int]] = {}
    for number, group in enumerate(groups):
        shares = tuple(Fraction(len(choice[number]), len(group)) for choice in besides)
        alike.setdefault(shares, []).append(number)
    place = {number: at for numbers in alike.values() for at, number in enumerate(numbers)}
    most = max(map(len, alike.values()), default=0)
    if most == 1 and len(groups) > 1:  # each stands alone: still, some stay whole while others lose a part
        place, most = dict(enumerate(n % 2 for n in range(len(groups)))), 2
    bits = range(max(0, most - 1).bit_length())
    return [off, *([part if place[n] >> bit & 1 else part[:0] for n, part in enumerate(off)] for bit in bits)]


def all_but_one(groups: Sequence[Tensor]) -> list[Tensor]:
    """Every channel that may leave: a single one left is squeezed away or broadcasts where two would not."""
    return [group[1:] for group in groups]


def _bisect(exact: Callable[[Sequence[int]], bool], failing: Sequence[int]) -> list[int]:
    """Members of a failing set without which the others do not fail: those of a half that fails, else those of the
    second half that fail beside the first."""
    if len(failing) == 1:
        return list(failing)
    first, second = failing[: len(failing) // 2], failing[len(failing) // 2 :]
    culprits = [] if exact(first) else _bisect(exact, first)
    left = [g for g in first if g not in culprits]
    if exact([*left, *second]):
        return culprits
    return culprits + _bisect(lambda chosen: exact([*left, *chosen]), second)


def agree_where_sure(usual: Sequence[Tensor], reference: Sequence[Tensor], result: Sequence[Tensor]) -> bool:
    """:func:`close` for each reference and result, where the reference is as usual."""
    if not len(usual) == len(reference) == len(result):
        return False
    for one, other, made in zip(usual, reference, result, strict=True):
        if one.shape != other.shape or other.shape != made.shape:
            return False
        sure = one == other
        if one.is_floating_point() and one.numel():
            sure |= (one - other).abs() <= TOLERANCE * one.abs().amax()
        if not close(other.masked_fill(~sure, 0), made.masked_fill(~sure, 0)):
            return False
    return True


def open_without(off: Sequence[Tensor], chosen: Sequence[int], variables: int) -> Tensor:
    """All variables but those of ``off`` that belong to the groups ``chosen``."""
    open_variables = torch.ones(variables, dtype=torch.bool)
    for g in chosen:
        open_variables[off[g]] = False
    return open_variables
