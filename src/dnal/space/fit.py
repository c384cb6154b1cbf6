"""Which numbers of a network's code need a correction, and where: an attribute of the module, or the call itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dnal.space.surgery.repair import Rewrites
from dnal.space.surgery.sizes import Argument, Attribute, Seen, SizeRule, agreed, numbers

Target = tuple[str, Any]
Trial = Callable[[Sequence[SizeRule]], set[Target] | None]


def used_rewrites(network: nn.Module) -> set[Target]:
    """The corrected calls of a compact network that its forward passes so far have needed."""
    found: set[Target] = set()
    for path, module in network.named_modules():
        rewrites = vars(module).get("rewritten_sizes")
        if isinstance(rewrites, Rewrites):
            found |= {(path, target) for target in rewrites.used}
    return found


def fit(
    network: nn.Module,
    rules: Sequence[SizeRule],
    variables: int,
    trial: Trial,
    elsewhere: Callable[[], list[Seen]],
) -> list[SizeRule]:
    """The rules that are needed. ``trial`` runs the compact network with rules and says which it used, or None where
    the result is wrong; ``variables``: how many there are; ``elsewhere`` finds the calls of these inputs, of
    another batch and of another size.

    A number that a module remembers is corrected there: all modules' attributes are tried at once, then those of one
    class and name at a time. The caller holds the result against more choices of channels, and freezes those
    for which it is wrong.
    """
    accepted = [rule for rule in rules if isinstance(rule.target, Attribute)]  # its operator's rule knows it
    rules = [rule for rule in rules if isinstance(rule.target, Argument)]
    answers = {(rule.path, _any_call(rule.target)) for rule in rules if rule.is_answer}
    needed = trial([*accepted, *rules]) if accepted or rules else set()
    if not needed:
        return accepted if needed is not None else [*accepted, *rules]
    done = {(rule.path, rule.target) for rule in accepted}
    candidates = attributes(network, [r for r in rules if (r.path, r.target) in needed], variables)
    candidates = [rule for rule in candidates if (rule.path, rule.target) not in done]
    kinds = sorted({kind(network, rule) for rule in candidates})
    for chosen in [kinds, *([one] for one in kinds)] if kinds else []:
        more = [rule for rule in candidates if kind(network, rule) in chosen]
        left = trial([*accepted, *more, *rules])
        if left is not None and left < needed:
            accepted, needed = [*accepted, *more], left
            if chosen is kinds or not needed:
                break
    if not needed:
        return accepted
    paths = {path for path, _ in needed}
    calls = {(path, _any_call(target)) for path, target in needed}
    pinned = {(rule.path, _any_call(rule.target)) for rule in rules if rule.pinned}
    general = [
        replace(rule, pinned=(rule.path, _any_call(rule.target)) in pinned and not rule.multiple)
        for rule in agreed(elsewhere())
        # A multiple of what an attribute has made right already would be taken for one that is wrong still.
        if rule.path in paths
        and (not rule.multiple or (rule.path, _any_call(rule.target)) in calls)
        and (not rule.is_answer or (rule.path, _any_call(rule.target)) in answers)
    ]
    needed = trial([*accepted, *general])
    if needed is None:
        return [*accepted, *general]
    here = {(r.path, r.target) for r in rules} | {(r.path, _any_call(r.target)) for r in rules}
    unseen = [r for r in general if (r.path, r.target) not in here]  # no call of the inputs of this size
    result = [*accepted, *(r for r in general if (r.path, r.target) in needed), *unseen]
    return result if trial(result) is not None else [*accepted, *general]


def _any_call(target: Attribute | Argument) -> Attribute | Argument:
    return target._replace(which=-1) if isinstance(target, Argument) else target


def kind(network: nn.Module, rule: SizeRule) -> tuple[str, str]:
    """What attributes are tried together: those of one class and name."""
    return type(network.get_submodule(rule.path)).__qualname__, rule.target[0]


def _draws(variables: int) -> list[Tensor]:
    """Open variables by the dozen. Two numbers that count different channels agree for a few choices by chance (one of
    two channels stays in each of two small groups), hardly for all of these."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(variables, generator=generator) < share for share in (0.2, 0.35, 0.5, 0.65, 0.8) * 5]


def attributes(network: nn.Module, needed: Sequence[SizeRule], variables: int) -> list[SizeRule]:
    """For every needed rule the attributes of its module that have its number; where two rules give a number different
    meanings, none."""
    masks = _draws(variables)
    found: dict[tuple[str, str, int], SizeRule | None] = {}
    for rule in needed:
        module = network.get_submodule(rule.path)
        for name, value in vars(module).items():
            if name in ("training", "rewritten_sizes") or name.startswith("__"):
                continue
            plain = type(value) in (list, tuple) and all(type(item) is int for item in value)
            for item, held in [(-1, value)] if type(value) is int else enumerate(numbers(value)):
                other_piece = plain and isinstance(rule.target, Argument) and rule.target.position != item
                if held == rule.old and rule.sign > 0 and not other_piece and not rule.is_answer:
                    key = (rule.path, name, item)
                    candidate = replace(rule, target=Attribute(name, item))
                    other = found.get(key, candidate)
                    same = other is not None and all(other.change(m).new == candidate.change(m).new for m in masks)
                    found[key] = candidate if same else None
    return [rule for rule in found.values() if rule is not None]
