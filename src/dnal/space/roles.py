"""What writes channels and what reads them: the roles of parameter dimensions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dnal.space.trace import Trace
from dnal.space.variables import Sources

Place = tuple[str, int]


def read_places(trace: Trace) -> list[Place]:
    """The dimensions through which convolutions and matrix products read channels, sorted."""
    return sorted({place for labels in trace.reads for place in trace.owners_of(labels)})


def written_places(trace: Trace, readers: Iterable[Place]) -> list[Place]:
    """The dimensions through which convolutions and matrix products make channels, sorted.

    They are the other dimensions of the multiplied weights, under every name of a tied weight. A weight that is read
    along each of its dimensions (an embedding that is also a transposed classifier) writes along each of them too.
    """
    reads = set(readers)
    multiplied = {id(trace.owners[m.name]) for m in trace.multiplications if m.name in trace.owners}
    found: list[Place] = []
    for name, dims in trace.owners.items():
        if id(dims) in multiplied:
            places = [(name, dim) for dim, own in enumerate(dims) if own is not None]
            found += [p for p in places if p not in reads and trace.lengths.get(p) not in reads] or places
    return sorted(found)


def unread_places(trace: Trace, of_label: Tensor, sources: Sources, readers: Iterable[Place]) -> list[Place]:
    """The parameter dimensions of the variables that no parameter reads, or that also meet another value unread; and
    the dimensions over which a norm runs that the weight is divided by."""
    readers = set(readers)
    unread = torch.ones(int(of_label.max()) + 2 if of_label.numel() else 1, dtype=torch.bool)
    for name, dim in readers:
        ids = sources[name][dim]
        if ids is not None:
            unread[ids] = False
    for labels in trace.contracted:
        unread[of_label[labels]] = True
    unread[-1] = False  # answers for source -1
    directions = {name for name, _ in trace.lengths}
    found = []
    for name in trace.parameters:
        for dim, ids in enumerate(sources[name]):
            place = (name, dim)
            if ids is not None and place not in trace.lengths and (name in directions or bool(unread[ids].any())):
                found.append(place)
    return found


def makers(places: Iterable[Place], readers: Iterable[Place], writers: Iterable[Place]) -> list[Place]:
    """Those of a group's places that make its channels.

    Biases and norms only move along. Where no product writes (a table, a class token), whatever does not read stands
    in for the maker.
    """
    places, reads, writes = list(places), set(readers), set(writers)
    return [p for p in places if p in writes] or [p for p in places if p not in reads] or places
