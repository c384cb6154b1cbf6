"""Branches: the parts of a network that can be left out, so that a block becomes its shortcut.

The candidates of a mixed edge are branches (``dnal.space.surgery.edge``). Residual branches are found in the traced
operations, not by the names of classes. At a sum, everything that was computed for one of its terms alone is that
term's region; if the other term is what the region starts from, or was computed from it by something smaller, the
region is a branch. Its gate multiplies the parameters that scale its result (the last norm's or product's weight and
bias, a layer scale), so that a closed gate makes it exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dnal.space.operations import Operand
from dnal.space.surgery.bypass import MOST_RESULTS, Bypass, Gone, Replacement, within
from dnal.space.surgery.edge import candidate_of
from dnal.space.trace import Trace
from dnal.space.variables import Sources

PRODUCTS = {"convolution", "addmm", "mm", "bmm", "baddbmm"}
NORMS = {
    "native_batch_norm",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "native_layer_norm",
    "native_group_norm",
}
PASSING = {
    "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "unsqueeze", "squeeze", "expand", "flatten",
    "contiguous", "clone", "roll", "slice", "select", "mean", "avg_pool2d", "relu", "constant_pad_nd", "native_dropout",
    "_to_copy", "upsample_nearest2d", "upsample_bilinear2d", "split", "split_with_sizes", "alias", "detach", "index",
}  # fmt: skip
"""What gives g times its result for g >= 0 times its input."""


@dataclass(frozen=True)
class Branch:
    """A residual branch, or a candidate of a mixed edge, that may be left out.

    Attributes:
        name: of the module that holds it, with the branch's first module where it holds several.
        variable: its index among the gates; those of the branches stand behind those of the channels.
        bypass: how the network runs without it.
    """

    name: str
    variable: int
    bypass: Bypass

    def removes(self, path: str) -> bool:
        """Whether what module ``path`` runs, or the tensor of this name, is gone when the branch is closed."""
        return self.bypass.removes(path)


class Candidate(NamedTuple):
    """A branch as it was found; the ways to take it out in order of preference.

    ``edge``: the path of the mixed edge of which it is a candidate; None for a residual branch.
    """

    name: str
    ways: list[Bypass]
    edge: str | None = None


def candidates(trace: Trace, edges: Collection[str] = (), *, depth: bool = True) -> list[Candidate]:
    """The branches of a traced network, in the order in which they run: the candidates of its mixed edges, and with
    ``depth`` its residual branches."""
    graph = _Graph(trace)
    found: list[Candidate] = []
    for index, operation in enumerate(trace.operations):
        if operation.name != "add" or len(operation.inputs) != 2:
            continue
        if operation.path in edges:
            found += graph.of_edge(index, operation.path)
            continue
        if not depth:
            continue
        left, right = operation.inputs
        if left.shape != right.shape or left.parameter or right.parameter or left.number == right.number:
            continue
        region = graph.branch(index)
        if region is None:
            continue
        places = graph.scales(region.term, region.operations)
        if not places:
            continue
        ways = [w for w in (graph.whole_module(index, region), graph.inner_modules(index, region)) if w]
        named = [(graph.name(region, ways), way) for way in ways]
        apart = graph.on_the_way(index, region)
        named += [(graph.name(region, [apart]), apart)] if apart else []
        bypasses = [Bypass(name, tuple(sorted(places)), way) for name, way in named]
        bypasses = [b for b in bypasses if graph.own(b, region)]
        if bypasses:
            found.append(Candidate(bypasses[0].name, bypasses))
    return found


class _Region(NamedTuple):
    term: Operand
    operations: frozenset[int]


class _Graph:
    """Who makes and who uses which value."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.operations = trace.operations
        self.parameters = set(trace.parameters)
        self.maker: dict[int, int] = {}
        self.users: dict[int, set[int]] = {}
        self.uses: dict[str, set[int]] = {}  # of parameters and buffers
        for index, operation in enumerate(self.operations):
            for given in operation.inputs:
                self.users.setdefault(given.number, set()).add(index)
                if given.parameter is not None:
                    self.uses.setdefault(given.parameter, set()).add(index)
            for made in operation.outputs:
                self.maker[made.number] = index
        idle = self._idle()
        for users in (*self.users.values(), *self.uses.values()):
            users -= idle
        self.working = [i for i in range(len(self.operations)) if i not in idle]
        # For each module: the names of the tensors in it, and the operations that use them.
        self.tensors_in: dict[str, list[tuple[str, set[int]]]] = {}
        for own, users in self.uses.items():
            for name in trace.names_of(own):
                path = name
                while path := path.rpartition(".")[0]:
                    self.tensors_in.setdefault(path, []).append((name, users))

    def _idle(self) -> set[int]:
        """The operations whose results nobody uses, such as what a network keeps for its next call: no branch ends
        there."""
        idle: set[int] = set()
        for index in reversed(range(len(self.operations))):
            operation = self.operations[index]
            numbers = {made.number for made in operation.outputs}
            used = any(self.users.get(number, set()) - idle for number in numbers)
            if numbers and not operation.writes and not used and not numbers & self.trace.answered:
                idle.add(index)
        return idle

    def region(self, term: Operand, end: int) -> frozenset[int]:
        """The operations whose results serve only ``term`` of the sum ``end``."""
        inside: set[int] = set()
        pending = [self.maker[term.number]] if term.number in self.maker else []
        while pending:
            pending.sort()
            index = pending.pop()
            if index in inside:
                continue
            users = set().union(*(self.users.get(made.number, set()) for made in self.operations[index].outputs))
            if users <= inside or (not inside and users == {end}):
                inside.add(index)
                makers = (self.maker.get(given.number) for given in self.operations[index].inputs)
                pending += [m for m in makers if m is not None and m not in inside and m not in pending]
        return frozenset(inside)

    def enters(self, region: Iterable[int]) -> set[int]:
        """The numbers of the values, not parameters, that a region uses and does not make."""
        region = set(region)
        return {
            given.number
            for index in region
            for given in self.operations[index].inputs
            if given.parameter is None and self.maker.get(given.number) not in region
        }

    def weight(self, region: Iterable[int]) -> int:
        """Parameters in the products of a region."""
        total = 0
        for index in region:
            if self.operations[index].name in PRODUCTS:
                for given in self.operations[index].inputs:
                    if self.parameter(given) is not None:
                        total += torch.Size(given.shape).numel()
        return total

    def branch(self, end: int) -> _Region | None:
        """The term of a sum that is a branch beside the other one."""
        terms = [_Region(term, self.region(term, end)) for term in self.operations[end].inputs]
        weights = [self.weight(region.operations) for region in terms]
        if weights[0] == weights[1]:
            return None
        branch, other = terms if weights[0] > weights[1] else terms[::-1]
        starts = self.enters(other.operations) | {other.term.number}
        return branch if self.enters(branch.operations) & starts else None

    def of_edge(self, end: int, edge: str) -> list[Candidate]:
        """The terms of a sum that are candidates of an edge and scaled by parameters of their own."""
        found = []
        for term in self.operations[end].inputs:
            maker = self.maker.get(term.number)
            path = None if maker is None else candidate_of(edge, self.operations[maker].path)
            if path is None or self.trace.calls_of[edge] != 1:
                continue
            region = _Region(term, self.region(term, end))
            places = self.scales(term, region.operations)
            bypass = Bypass(path, tuple(sorted(places or ())), (Replacement(path, "absent"),))
            if places and self.own(bypass, region):
                found.append(Candidate(path, [bypass], edge))
        return found

    def parameter(self, given: Operand) -> str | None:
        """The parameter that a value is, or a view of."""
        while given.parameter is None:
            index = self.maker.get(given.number)
            if index is None or self.operations[index].name not in ("t", "transpose", "view", "permute", "alias"):
                return None
            given = self.operations[index].inputs[0]
        return given.parameter if given.parameter in self.parameters else None

    def scales(self, term: Operand, region: frozenset[int]) -> set[str] | None:
        """The parameters that the term is proportional to, all of them together; None if there are none."""
        index = self.maker.get(term.number)
        if index is None or index not in region:
            return None
        operation = self.operations[index]
        found: set[str] | None = None
        if operation.name in NORMS or operation.name in PRODUCTS:
            names = [self.parameter(given) for given in operation.inputs]
            found = {name for name in names if name is not None}
            plain = [g for g, name in zip(operation.inputs, names, strict=True) if name is None and not g.parameter]
            if len(plain) != 1 or (operation.name in NORMS and not found):
                return None
        elif operation.name == "mul":
            names = [self.parameter(given) for given in operation.inputs]
            found = {name for name in names if name is not None}
            for given in operation.inputs if not found else ():
                found = found or self.scales(given, region) or set()
        elif operation.name in ("add", "cat"):
            parts = [self.scales(given, region) for given in operation.inputs]
            found = set() if not parts or not all(parts) else set().union(*(part or set() for part in parts))
        elif operation.name in PASSING:
            found = self.scales(operation.inputs[0], region)
        return found if found and all(self.uses[name] <= region for name in found) else None

    def whole_module(self, end: int, region: _Region) -> tuple[Replacement, ...] | None:
        """The module that holds the branch becomes the chain of its children that run beside it."""
        path = _common([self.operations[i].path for i in (*region.operations, end)])
        if not path or self.trace.calls_of[path] != 1:
            return None
        inside = [i for i in self.working if within(self.operations[i].path, path)]
        children: list[str] = []
        for i in inside:
            if i in region.operations or i == end:
                continue
            child = self.child(self.operations[i].path, path)
            if not child:
                return None  # the module itself does something else too
            if child not in children:
                children.append(child)
        return (Replacement(path, "chain", tuple(children)),)

    def inner_modules(self, end: int, region: _Region) -> tuple[Replacement, ...] | None:
        """The children that run only in the branch pass on zeros."""
        frame = self.operations[end].path
        children: list[str] = []
        for i in sorted(region.operations):
            path = self.operations[i].path
            if frame and not within(path, frame):
                return None
            child = self.child(path, frame)
            full = f"{frame}.{child}" if frame else child
            if child and full not in children:
                children.append(full)
        inside = {i for i in self.working if any(within(self.operations[i].path, child) for child in children)}
        children = [c for c in children if self.trace.calls_of[c] == 1 and self.replaceable(c)]
        shared = inside - region.operations
        children = [c for c in children if not any(within(self.operations[i].path, c) for i in shared)]
        if not children:
            return None
        return tuple(
            Replacement(child, "zero" if n == 0 else "first", results=self.trace.results_of[child])
            for n, child in enumerate(children)
        )

    def on_the_way(self, end: int, region: _Region) -> tuple[Replacement, ...] | None:
        """The modules, wherever they stand, through which the input of the block reaches the sum in the branch pass it
        on, and the last of them gives zeros. What comes in from the side (an embedding of time) still runs."""
        others = [given for given in self.operations[end].inputs if given.number != region.term.number]
        reached = {given.number for given in others}.union(*(self.enters(self.region(o, end)) for o in others))
        on_way: set[int] = set()
        for i in sorted(region.operations):
            if any(given.number in reached for given in self.operations[i].inputs):
                on_way.add(i)
                reached |= {made.number for made in self.operations[i].outputs}
        paths = self._private(region.operations, on_way)
        return tuple(
            Replacement(path, "zero" if path == paths[-1] else "first", results=self.trace.results_of[path])
            for path in paths
        )

    def _private(self, region: frozenset[int], wanted: set[int]) -> list[str]:
        """The largest modules that run in a region alone, once, and do some of the ``wanted`` operations; in the order
        in which they run."""
        running: dict[str, set[int]] = {}
        for i in self.working:
            parts = self.operations[i].path.split(".") if self.operations[i].path else []
            for depth in range(1, len(parts) + 1):
                running.setdefault(".".join(parts[:depth]), set()).add(i)
        fitting = [
            path
            for path, own in running.items()
            if own <= region and own & wanted and self.trace.calls_of[path] == 1 and self.replaceable(path)
        ]
        largest = [p for p in fitting if not any(p != other and within(p, other) for other in fitting)]
        return sorted(largest, key=lambda path: min(running[path]))

    def child(self, path: str, module: str) -> str:
        """The outermost module that runs on the way from a module to one in it, as a path in it; "" for the module
        itself. What only holds others, such as a list of blocks, does not run."""
        parts = path.removeprefix(module).removeprefix(".").split(".") if path != module else []
        inner = (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        return next((p for p in inner if self.trace.calls_of[f"{module}.{p}" if module else p]), "")

    def replaceable(self, path: str) -> bool:
        """Whether what a module returns can be given without it: a tensor, or a tuple whose first one it is."""
        return 0 <= self.trace.results_of[path] <= MOST_RESULTS

    def name(self, region: _Region, ways: Sequence[tuple[Replacement, ...]]) -> str:
        """The module that goes as a whole, or that with the branch's first product."""
        products = [self.operations[i].path for i in sorted(region.operations) if self.operations[i].name in PRODUCTS]
        goes = [r.path for way in ways for r in way if any(within(p, r.path) for p in products)]
        return goes[0] if goes else products[0]

    def own(self, bypass: Bypass, region: _Region) -> bool:
        """Whether nothing else uses the tensors that go."""
        return not any(
            not users <= region.operations and bypass.removes(name)
            for replacement in bypass.modules
            for name, users in self.tensors_in.get(replacement.path, ())
        )


def _common(paths: Sequence[str]) -> str:
    """The innermost module that holds all of these."""
    split = [path.split(".") if path else [] for path in paths]
    common: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)


def depths(found: Sequence[Candidate]) -> list[int]:
    """In how many others of the candidates each one stands, so that it may go with them."""
    gone = [Gone(candidate.ways) for candidate in found]

    def within_it(one: Candidate, outer: Gone) -> bool:
        return any(all(any(True for _ in outer.removers(r.path)) for r in way.modules) for way in one.ways)

    return [sum(within_it(one, outer) for n, outer in enumerate(gone) if n != i) for i, one in enumerate(found)]


def leaves_nothing(bypasses: Iterable[Bypass], products: Collection[str], parameters: Collection[str]) -> bool:
    """Whether no parameter is left without these branches, or nothing that multiplies; ``products``: the modules that
    do."""
    gone = Gone(bypasses)
    return any(
        all(any(True for _ in gone.removers(path)) for path in paths) for paths in (products, parameters) if paths
    )


def settled(branches: Sequence[Branch], sources: Sources, open_variables: Tensor, channels: int) -> Tensor:
    """The same architecture with everything closed that only stands in closed branches; (num_gates,)."""
    closed = [b for b in branches if not open_variables[b.variable]]
    result = open_variables.clone()
    if not closed:
        return result
    alive = torch.zeros(channels + 1, dtype=torch.bool)  # the last entry answers for source -1
    for name, dims in sources.items():
        if not any(b.removes(name) for b in closed):
            for ids in dims:
                if ids is not None:
                    alive[ids] = True
    result[:channels] &= alive[:channels]
    for b in branches:
        if any(o is not b and all(o.removes(r.path) for r in b.bypass.modules) for o in closed):
            result[b.variable] = False
    return result


def gates_of(branches: Sequence[Branch]) -> Callable[[str], list[Tensor]]:
    """A function from the path of a module or tensor to the variables of the branches that hold it, shape (1,) each:
    factors of a cost's term."""
    gone = Gone(branch.bypass for branch in branches)
    return lambda path: [torch.tensor([branches[n].variable]) for n in sorted(set(gone.removers(path)))]
