"""From labels to variables: which channels may leave, together with which others, and under which name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dnal.space.labels import core, signature
from dnal.space.surgery.norms import NormRule
from dnal.space.trace import KERNEL, Trace


class Sources(dict[str, tuple[Tensor | None, ...]]):
    """Per tensor and dimension the variable ids, -1 = fixed, or None where the whole dimension is; ``norms``, the calls
    that take means over variables."""

    def __init__(
        self, tensors: Mapping[str, tuple[Tensor | None, ...]] | None = None, norms: Iterable[NormRule] = ()
    ) -> None:
        super().__init__(tensors or {})
        self.norms = list(norms)


class Fixed(NamedTuple):
    """Channels that stay: the first tensor they appear in, and why (with the dimension and the number of tensors)."""

    name: str
    reason: str


@dataclass(frozen=True)
class Variables:
    """The channel variables of a traced network.

    ``of_label``: the variable of every label of the trace, shape (labels,), -1 = fixed. ``names``: the smallest
    (parameter, dimension, index) of every variable; variables are numbered in the order of their names.
    ``groups``: the variable ids of every group; the variables of one group appear in the same tensor dimensions, in
    the order in which the network registers them. ``fixed``: what stays, and why.
    """

    of_label: Tensor
    names: list[tuple[str, int, int]]
    groups: list[Tensor]
    fixed: list[Fixed]

    def sources(self, trace: Trace) -> Sources:
        """Per tensor and dimension the variable ids, or None where the whole dimension is fixed."""
        result = Sources(norms=self.norms(trace))
        for name, dims in trace.owners.items():
            ids = [None if own is None else self.of_label[own] for own in dims]
            result[name] = tuple(None if i is None or bool((i < 0).all()) else i for i in ids)
        return result

    def norms(self, trace: Trace) -> list[NormRule]:
        """The calls that take means over variables, in terms of them."""
        rules = (NormRule(call, labels).with_variables(self.of_label) for call, labels in trace.norms.items())
        return [rule for rule in rules if bool((rule.channels >= 0).any())]


def variables_of(trace: Trace) -> Variables:
    """Solves the ties of a trace: classes of labels that nothing froze become variables."""
    _resolve_joint(trace)
    trace.ledger.settle_shared()
    root, reasons = trace.ledger.solve()
    owned = [(name, dim, own) for name, dims in trace.owners.items() for dim, own in enumerate(dims) if own is not None]
    profile = _profiles(
        root, [own for _, _, own in owned] + [core(part, signature(part)) for part in trace.parts if part.numel()]
    )

    free = torch.ones(trace.ledger.size, dtype=torch.bool)
    free[torch.tensor(list(reasons), dtype=torch.long)] = False
    open_roots = torch.cat([own for _, _, own in owned] or [torch.empty(0, dtype=torch.long)])
    open_roots = root[open_roots].unique()
    met = torch.zeros(trace.ledger.size, dtype=torch.bool)
    for labels in (*trace.multiplied, *trace.reads, *trace.contracted):
        met[root[labels]] = True
    for idle in open_roots[~met[open_roots] & free[open_roots]].tolist():
        reasons[idle] = "no product reads or makes it"  # the part of a table that other inputs look up
        free[idle] = False
    open_roots = open_roots[free[open_roots]]
    _, group, widths = profile[open_roots].unique(return_inverse=True, return_counts=True)
    for alone in open_roots[widths[group] == 1].tolist():
        reasons[alone] = "it is the only channel of its kind, and one must stay"
    open_roots, group = open_roots[widths[group] > 1], group[widths[group] > 1]

    names = _names(root, owned, open_roots)
    order = sorted(range(len(names)), key=names.__getitem__)
    of_root = torch.full((trace.ledger.size,), -1, dtype=torch.long)
    of_root[open_roots[torch.tensor(order, dtype=torch.long)]] = torch.arange(len(order))
    of_label = of_root[root]

    numbered = of_root[open_roots]
    flat = root[torch.cat([own for _, _, own in owned] or [torch.empty(0, dtype=torch.long)])]
    registered = torch.full_like(root, flat.numel())  # where the network registers a class first
    registered.scatter_reduce_(0, flat, torch.arange(flat.numel()), "amin")
    members = [group == g for g in group.unique()]
    members.sort(key=lambda mask: int(registered[open_roots[mask]].min()))
    groups = [numbered[mask].sort().values for mask in members]
    return Variables(of_label, [names[i] for i in order], groups, _fixed(root, reasons, owned))


def _resolve_joint(trace: Trace) -> None:
    """Layers that vary along several dimensions (heads and their channels, shuffle groups, positions): a tensor has
    one size per dimension, so that all but one keep theirs. The one that keeps its freedom is the one with the most
    variables, once all that is known is known."""
    pending, trace.joint = trace.joint, []
    seen: set[tuple[tuple[int, ...], bytes]] = set()
    for labels in pending:
        key = (tuple(labels.shape), labels.numpy().tobytes())
        if key in seen:
            continue
        seen.add(key)
        root = trace.ledger.roots()[labels]
        rows = [root.movedim(d, 0).reshape(root.size(d), -1) for d in range(root.dim())]
        if any(bool((r == r[:, :1]).all()) for r in rows):
            continue
        d = max(range(root.dim()), key=lambda d: (int(rows[d].amin(1).unique().numel()), root.size(d)))
        trace.ledger.tie(rows[d], rows[d][:, :1])


def _profiles(root: Tensor, sets: list[Tensor]) -> Tensor:
    """A number per class that is equal for classes found in the same sets (a sum of 62-bit random numbers)."""
    generator = torch.Generator().manual_seed(0)
    keys = torch.randint(2**62, (len(sets),), generator=generator)
    profile = torch.zeros_like(root)
    for key, labels in zip(keys, sets, strict=True):
        profile[root[labels]] += key  # once each, however often a class is there
    return profile


def _names(root: Tensor, owned: list[tuple[str, int, Tensor]], wanted: Tensor) -> list[tuple[str, int, int]]:
    ordered = sorted(owned, key=lambda entry: entry[:2])
    flat = torch.cat([own for _, _, own in ordered]) if ordered else torch.empty(0, dtype=torch.long)
    first = torch.full_like(root, flat.numel())
    first.scatter_reduce_(0, root[flat], torch.arange(flat.numel()), "amin")
    starts = torch.tensor([0, *(own.numel() for _, _, own in ordered)]).cumsum(0)
    entry = torch.searchsorted(starts, first[wanted], right=True) - 1
    index = first[wanted] - starts[entry]
    return [(*ordered[e][:2], i) for e, i in zip(entry.tolist(), index.tolist(), strict=True)]


def _fixed(root: Tensor, reasons: dict[int, str], owned: list[tuple[str, int, Tensor]]) -> list[Fixed]:
    """One entry for each set of tensor dimensions that a reason keeps."""
    found: dict[str, list[tuple[str, int]]] = {}
    for name, dim, own in owned:
        why = {reasons[r] for r in root[own].unique().tolist() if r in reasons} - {KERNEL}
        for reason in sorted(why):
            found.setdefault(reason, []).append((name, dim))
    return [Fixed(name, f"dimension {dim}: {reason}") for reason, places in found.items() for name, dim in places]
