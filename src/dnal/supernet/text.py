"""What was learnt of a supernet, as text that people read."""

from __future__ import annotations

from torch import nn

from dnal.architecture.architecture import Architecture
from dnal.space.surgery.edge import MixedEdge, candidate_path
from dnal.supernet.mobile import MBConv


def blocks(network: nn.Module, architecture: Architecture) -> list[str]:
    """A line per mixed edge of the supernet, in its order: "block 7: mbconv k5 e3 -> 112 of 240 channels, residual".

    The channels are those inside the candidate: the most that one of its layers makes.

    Args:
        network: the supernet, before removal.

    Raises:
        UserError: if the architecture was made for another network.
    """
    architecture.check(network)
    edges = [(path, module) for path, module in network.named_modules() if isinstance(module, MixedEdge)]
    return [f"block {number}: {_edge(path, edge, architecture)}" for number, (path, edge) in enumerate(edges, start=1)]


def _edge(path: str, edge: MixedEdge, architecture: Architecture) -> str:
    candidates = {candidate_path(path, name): module for name, module in edge.candidates.named_children()}
    left = [
        _candidate(inside, candidate, architecture)
        for inside, candidate in candidates.items()
        if not architecture.kept.removes(inside)
    ]
    if not left:
        return "shortcut"
    return f"{' + '.join(left)}{', residual' if edge.shortcut else ''}"


def _candidate(path: str, candidate: nn.Module, architecture: Architecture) -> str:
    word = (
        f"mbconv k{candidate.kernel} e{candidate.expansion}"
        if isinstance(candidate, MBConv)
        else type(candidate).__name__.lower()
    )
    inside = [name for name, shape in architecture.shapes.items() if name.startswith(f"{path}.") and len(shape) > 1]
    if not inside:
        return word
    widest = max(inside, key=lambda name: architecture.shapes[name][0])
    shape = architecture.shapes[widest]
    return f"{word} -> {architecture.kept.left(widest, shape)[0]} of {shape[0]} channels"
