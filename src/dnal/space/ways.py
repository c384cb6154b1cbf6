"""The ways of correcting a number of the code, tried in turn where removal fails: as it is, the number of a call is
corrected in that call; else what the modules remember is corrected, or the number is pinned whatever the code computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dnal.space.fit import attributes, kind
from dnal.space.surgery.sizes import Argument, Attribute, SizeRule, with_variables
from dnal.space.trace import Trace
from dnal.space.variables import Variables

Key = tuple[str, Attribute | Argument]
Fails = Callable[[Sequence[int], Sequence[SizeRule]], Sequence[int]]


class Ways:
    """Which way is taken for every number; all begin with their calls."""

    def __init__(self, network: nn.Module, trace: Trace) -> None:
        self._network, self._trace = network, trace
        self._remembered: set[Key] = set()
        self._pinned: set[Key] = set()
        self._answered: set[Key] = set()

    def rules(self, found: Variables) -> list[SizeRule]:
        """The numbers that change with the variables, as they are corrected now."""
        plain, remembered, pinned = self._candidates(found)
        answers = self._answers(found)
        return [
            *(pinned.get(key, rule) if key in self._pinned else rule for key, rule in plain.items()),
            *(rule for key, rule in pinned.items() if key in self._pinned and key not in plain),
            *(rule for key, rule in remembered.items() if key in self._remembered),
            *(rule for key, rule in answers.items() if key in self._answered),
        ]

    def failing(self, found: Variables, bad: Sequence[int], fails: Fails) -> list[int]:
        """Those of the groups ``bad`` that fail in every way; for the others the way that works is taken.

        ``fails`` tells those of some groups that fail under some rules.
        """
        left = list(bad)
        for way in self._ways(found, left) if left else ():
            counted = [group for group in left if any(_counts(rule, found.groups[group]) for rule in way)]
            replaced = {(rule.path, rule.target) for rule in way}
            rules = [rule for rule in self.rules(found) if (rule.path, rule.target) not in replaced]
            still = set(fails(counted, [*rules, *way])) if counted else set()
            for group in counted:
                if group not in still:
                    self._take(way, found.groups[group])
                    left.remove(group)
        return left

    def _candidates(self, found: Variables) -> tuple[dict[Key, SizeRule], dict[Key, SizeRule], dict[Key, SizeRule]]:
        """The rules as they are, those for what the modules remember instead, and those that pin a number."""
        known = with_variables([rule for rule in self._trace.sizes if not rule.is_answer], found.of_label)
        plain = {(rule.path, rule.target): rule for rule in known if not rule.pinned}
        calls = [rule for rule in known if isinstance(rule.target, Argument)]
        held = attributes(self._network, calls, len(found.names))
        remembered = {(rule.path, rule.target): rule for rule in held if (rule.path, rule.target) not in plain}
        pinned = {
            (rule.path, rule.target): replace(rule, pinned=True)
            for rule in known
            if rule.pinned or isinstance(rule.target, Argument)
        }
        return plain, remembered, pinned

    def _answers(self, found: Variables) -> dict[Key, SizeRule]:
        """The sizes that modules ask tensors for."""
        known = with_variables([rule for rule in self._trace.sizes if rule.is_answer], found.of_label)
        return {(rule.path, rule.target): rule for rule in known}

    def _ways(self, found: Variables, bad: Sequence[int]) -> Iterator[list[SizeRule]]:
        """What may be corrected otherwise, of what counts channels of the groups ``bad``: what all modules remember,
        what those of one class do under one name, the shapes that modules of one class ask for, and those of all,
        numbers that are pinned, and these with the shapes."""
        leaving = torch.cat([found.groups[group] for group in bad])
        _, remembered, pinned = self._candidates(found)
        own = [rule for rule in remembered.values() if _counts(rule, leaving)]
        kinds = sorted({kind(self._network, rule) for rule in own})
        if own:
            yield own
        for one in kinds if len(kinds) > 1 else ():
            yield [rule for rule in own if kind(self._network, rule) == one]
        asked = [rule for rule in self._answers(found).values() if _counts(rule, leaving)]
        classes = sorted({type(self._network.get_submodule(rule.path)).__qualname__ for rule in asked})
        for name in classes:
            yield [r for r in asked if type(self._network.get_submodule(r.path)).__qualname__ == name]
        if len(classes) > 1:
            yield asked
        also = [rule for rule in pinned.values() if _counts(rule, leaving)]
        yield also
        if asked:
            yield [*asked, *also]

    def _take(self, way: Sequence[SizeRule], variables: Tensor) -> None:
        for rule in way:
            if _counts(rule, variables):
                key = rule.path, rule.target
                if rule.is_answer:
                    self._answered.add(key)
                elif rule.pinned:
                    self._pinned.add(key)
                elif isinstance(rule.target, Attribute):
                    self._remembered.add(key)


def _counts(rule: SizeRule, variables: Tensor) -> bool:
    return bool(torch.isin(rule.channels, variables).any())
