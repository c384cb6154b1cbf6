"""The Space: everything that may vary in a network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.space.branches import Branch, Candidate, candidates, depths, gates_of, leaves_nothing
from dnal.space.cost import Cost, CostFunction
from dnal.space.explain import Explanation, explained
from dnal.space.garbage import only_new_garbage
from dnal.space.operations import Operation
from dnal.space.operations import with_variables as operations_with_variables
from dnal.space.patterns import Patterns, check_patterns, may_go, patterns, restricted
from dnal.space.per_example import counted, per_example
from dnal.space.probe import Probe, all_but_one, open_without, told_apart, uneven
from dnal.space.roles import read_places, unread_places, written_places
from dnal.space.rules import RULES
from dnal.space.surgery.bake import SamePadded, bakeable, baked, remedy
from dnal.space.surgery.bypass import HELPERS, Bypass
from dnal.space.surgery.edge import MixedEdge, candidate_of
from dnal.space.surgery.example import Example, described
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.norms import NormRule
from dnal.space.surgery.remove import Kept, kept_indices
from dnal.space.surgery.sizes import Argument, Seen, SizeRule, with_variables
from dnal.space.surgery.tensors import named_tensors
from dnal.space.trace import Trace, traced
from dnal.space.variables import Fixed, Sources, Variables, variables_of
from dnal.space.ways import Ways

COUNTED = ("macs", "params")
"""The costs that are whole numbers."""

Norms = Literal["fixed", "open"]
"""Whether channels that a norm runs over stay, or the norm runs over those that are open."""


@dataclass(frozen=True)
class Group:
    """Channel variables that appear in the same tensor dimensions: the channels of one layer or one residual stream.

    ``variables``: their ids, shape (width,). ``places``: the (parameter, dimension) pairs they appear in.
    """

    name: str
    variables: Tensor
    places: list[tuple[str, int]]

    @property
    def width(self) -> int:
        return int(self.variables.numel())


@dataclass(frozen=True)
class Space:
    """The channel variables of a network and what they cost; made by :meth:`Space.of`.

    Attributes:
        num_variables: number of channel variables (channels that must go together share one).
        sources: per parameter name and dimension a LongTensor of variable ids, shape (size of the dimension,),
            -1 = fixed; or None where the whole dimension is fixed.
        buffer_sources: the same for buffers (batch statistics).
        names: the smallest (parameter, dimension, index) of every variable.
        groups: variables of one layer or stream, in the order of the network.
        readers: the (parameter, dimension) pairs through which convolutions and linear layers read variables.
        gates: the pairs where gates stand: the readers; for a variable that meets another value where no parameter
            reads it (the channels over which queries and keys are multiplied) every parameter that owns it. Gates of 0
            and 1 are exact either way; between them such a variable counts once for every parameter it passes.
        writers: those through which they make variables.
        costs: "macs" and "params" as functions of gate values.
        multiplied: the module that runs each product of costs["macs"], in the order of its terms.
        fixed: (name, reason) of the channels that stay.
        unknown: operations without a rule that touched channels, with their counts.
        uncounted: those of them that take a weight and a value, so that what they multiply may be missing in
            costs["macs"], with the modules that run them.
        shapes: the shape of every parameter and buffer.
        baked: the layers that compute their weight (weight standardisation): here and in the compact
            network they are plain layers with the weights they have computed.
        sizes: the numbers in the network's code that change with the variables, and how.
        helped: the modules that are instances of classes of dnal in a compact network that lost channels or branches
            there: code that computes a number of channels from something else, attention of torch with fewer heads.
            Such a network needs dnal to run and to be unpickled; what it is exported to does not.
        branches: the candidates of mixed edges, and, if asked for, the residual branches, that may be left out.
        choices: per mixed edge all of whose candidates may be left out, and that has no shortcut, the variables of its
            candidates: one of them stays. Where nothing else would be left of the network, those of all branches.
        operations: those of the forward pass, with sizes that follow the variables.
        norms: the calls that take means over variables, where norms are open: with gates each channel is weighted by
            its gate, and a closed one has no part in them.
        example: the example inputs, described (structure, shapes, types); None where they hold an object of the user's.
    """

    num_variables: int
    sources: dict[str, tuple[Tensor | None, ...]]
    buffer_sources: dict[str, tuple[Tensor | None, ...]]
    names: list[tuple[str, int, int]]
    groups: list[Group]
    readers: list[tuple[str, int]]
    writers: list[tuple[str, int]]
    costs: dict[str, CostFunction]
    fixed: list[Fixed]
    unknown: dict[str, int]
    uncounted: dict[str, list[str]]
    shapes: dict[str, tuple[int, ...]]
    gates: list[tuple[str, int]]
    sizes: list[SizeRule]
    baked: list[str]
    helped: list[str]
    operations: list[Operation]
    branches: list[Branch]
    choices: list[Tensor]
    multiplied: list[str]
    example: Example | None = None
    norms: list[NormRule] = field(default_factory=list)

    @staticmethod
    @only_new_garbage()
    def of(
        network: nn.Module,
        example_inputs: Inputs,
        *,
        probe: bool = True,
        include: Patterns | None = None,
        exclude: Patterns | None = None,
        depth: bool = False,
        norms: Norms = "fixed",
    ) -> Space:
        """Finds what may vary in ``network`` from one forward pass on ``example_inputs``.

        Args:
            network: any module; it is run in eval mode and left as it was.
            example_inputs: a tensor (N, C, H, W), a tuple of positional arguments or a dict of keyword arguments, on
                the network's device.
            probe: check every group numerically and freeze what is not exact (a few forward passes).
            include: names or patterns of layers or parameters ("layer4.*", "*.conv2"): only channels all of whose
                makers match may vary.
            exclude: the channels that these make stay (for a pattern that names only norms: those they scale).
            depth: find residual branches too, which then may be closed as a whole (``branches``).
            norms: "fixed": the channels that a layer norm, RMS norm, one-group norm or another mean runs over stay (the
                residual streams of transformers and ConvNeXts), and what is closed computes exactly what zeros compute.
                "open": they may vary; under gates a norm runs over the channels that are open, each weighted by its
                gate, and the compact network computes exactly that. Closing some of them changes what the norm makes
                of the others, so that this is for networks that are trained with their gates, or afterwards.

        Never fails on an operation it does not know: what that touches is fixed, and listed in ``fixed``; a warning
        names those that may multiply weights, since they are missing in the MACs.
        Method: channel labels beside the real forward pass, then numeric probing. Both work on copies; the network,
        its inputs and the global random state stay as they are.

        Raises:
            UserError: on a network that cannot be copied and changed: a parallel wrapper, what torch.compile returns,
                TorchScript, lazy parameters; on a pattern that names nothing, with the nearest name; or on other norms
                than these.

        Examples:
            >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
            >>> space = dnal.Space.of(network, torch.randn(2, 3, 8, 8))
            >>> [(group.name, group.width, group.places) for group in space.groups]
            [('0.weight', 8, [('0.weight', 0), ('0.bias', 0), ('1.weight', 0), ('1.bias', 0), ('3.weight', 1)])]
            >>> space.full_cost
            {'macs': 12384, 'params': 532}
        """
        wanted, unwanted = patterns(include), patterns(exclude)
        for option, given in (("include", wanted), ("exclude", unwanted)):
            check_patterns([name for name, _ in named_tensors(network)], given, option)
        if norms not in get_args(Norms):
            raise UserError(f"norms are {' or '.join(get_args(Norms))}, not '{norms}'.")
        opens = norms == "open"
        trace = traced(network, example_inputs, RULES, opens=opens)
        shapes = {name: tuple(tensor.shape) for name, tensor in named_tensors(network)}
        plain = bakeable(network, trace.computed)
        computing = {name for name, _ in network.named_parameters(remove_duplicate=False)}
        if plain:
            network = baked(network, plain)
            trace = traced(network, example_inputs, RULES, opens=opens)
        per_example(trace, network, example_inputs)
        _explain_computed(trace, network)
        found = restricted(trace, variables_of(trace), wanted, unwanted)
        plainly = [rule for rule in trace.sizes if not rule.pinned and not rule.is_answer]
        sizes = with_variables(plainly, found.of_label)
        edges = {path: module for path, module in network.named_modules() if isinstance(module, MixedEdge)}
        tested = Probe(network, example_inputs) if (probe and found.groups) or depth or edges else None
        if tested is not None and probe and found.groups:
            ways = Ways(network, trace)
            found = _probed(trace, found, tested, ways)
            found, sizes = _fitted(trace, found, tested, ways, partial(trace.elsewhere, network, example_inputs))
        sources = found.sources(trace)
        branches: list[Branch] = []
        if (depth or edges) and tested is not None:
            products = {m.path for m in trace.multiplications}
            allowed = [
                c
                for c in candidates(trace, edges, depth=depth)
                if not any(leaves_nothing([w], products, trace.parameters) for w in c.ways)
                and (
                    not (wanted or unwanted)
                    or all(may_go([n for n in trace.owners if w.removes(n)], wanted, unwanted) for w in c.ways)
                )
            ]
            branches = _branches(allowed, sources, sizes, found, tested)
        parameters = dict(network.named_parameters(remove_duplicate=False))
        once = {name for name, _ in [*network.named_parameters(), *network.named_buffers()]}  # tied: under one name
        of_label = found.of_label
        readers = read_places(trace)
        unread = unread_places(trace, of_label, sources, readers)
        gates = gates_of(branches)
        macs = Cost(
            [
                (
                    m.factor,
                    [
                        *m.counts(of_label),
                        *gates(m.path),
                    ],
                )
                for m in trace.multiplications
            ]
        )
        params = Cost(
            [
                (
                    1.0,
                    [
                        *(size if ids is None else ids for size, ids in zip(p.shape, sources[name], strict=True)),
                        *gates(name),
                    ],
                )
                for name, p in network.named_parameters()
            ]
        )
        _warn_of_uncounted(_uncounted(trace))
        return Space(
            num_variables=len(found.names),
            sources={  # a layer that was made plain has no parameters besides its weight and bias any more
                **{name: (None,) * len(shape) for name, shape in shapes.items() if name in computing},
                **{name: dims for name, dims in sources.items() if name in parameters},
            },
            buffer_sources={name: dims for name, dims in sources.items() if name not in parameters},
            names=found.names,
            groups=_groups(found.groups, found.names, sources, set(parameters)),
            readers=[place for place in readers if place[0] in once and sources[place[0]][place[1]] is not None],
            gates=sorted({p for p in (*readers, *unread) if p[0] in once and sources[p[0]][p[1]] is not None}),
            sizes=sizes,
            writers=[p for p in written_places(trace, readers) if p[0] in once and sources[p[0]][p[1]] is not None],
            costs={"macs": macs, "params": params},
            fixed=found.fixed,
            unknown=dict(trace.unknown),
            uncounted=_uncounted(trace),
            shapes=shapes,
            baked=plain,
            helped=_helped(network, plain, sources, sizes, branches),
            branches=branches,
            choices=_choices(branches, edges, trace),
            multiplied=[m.path for m in trace.multiplications],
            operations=operations_with_variables(trace.operations, of_label),
            example=described(example_inputs),
            norms=sources.norms,
        )

    @property
    def num_branches(self) -> int:
        """Number of branch variables."""
        return len(self.branches)

    @property
    def num_gates(self) -> int:
        """Number of all variables: the channel variables come first, then the branch variables."""
        return self.num_variables + self.num_branches

    def with_cost(self, name: str, cost: CostFunction) -> Space:
        """The same Space with one more cost, by which budgets can be stated then."""
        return replace(self, costs={**self.costs, name: cost})

    @cached_property
    def full_cost(self) -> dict[str, float]:
        """The costs of the whole network; MACs and parameters are whole numbers."""
        return self.cost_of(torch.ones(self.num_gates))

    def cost_of(self, open_variables: Tensor) -> dict[str, float]:
        """Every cost of an architecture, (num_gates,)."""
        found = {name: float(cost(open_variables)) for name, cost in self.costs.items()}
        return {name: round(value) if name in COUNTED else value for name, value in found.items()}

    @cached_property
    def removable_share(self) -> float:
        """Share of the MACs in layers of which at least one side (inputs or outputs) has variables."""
        return self._share_moved_by(torch.arange(self.num_variables))

    def explain(self, name: str) -> Explanation:
        """For each dimension of a parameter or buffer: its groups, what makes and what reads them, or why it is fixed.

        ``str()`` of the result is a text for people.

        Raises:
            UserError: an unknown name, with the nearest one that exists.
        """
        return explained(self, name)

    def share_of_macs(self, group: Group) -> float:
        """Share of the network's MACs in products that read or write the group's channels."""
        return self._share_moved_by(group.variables)

    def _share_moved_by(self, variables: Tensor) -> float:
        """Share of the MACs in products that cost less when these gates are half closed."""
        gates = torch.ones(self.num_gates, dtype=torch.float64)
        macs = self.costs["macs"]
        assert isinstance(macs, Cost)
        full = macs.terms(gates)
        gates[variables] = 0.5
        total = float(full.sum())
        return float(full[macs.terms(gates) < full].sum()) / total if total else 0.0


def _explain_computed(trace: Trace, network: nn.Module) -> None:
    """Says of layers whose weight is computed by what can be taken off, how."""
    for path, module in network.named_modules():
        call = remedy(module)
        for name, _ in named_tensors(module) if call is not None else []:
            for labels in trace.owners.get(f"{path}.{name}" if path else name, ()):
                trace.ledger.explain(
                    labels, f"its layer computes its weight; after {call} it is looked at as a plain one"
                )


def _shown(trace: Trace, found: Variables, probe: Probe) -> Variables:
    """Freezes the groups that move nothing, so that no number could show whether their removal is exact."""
    off, sources = uneven(found.groups), found.sources(trace)  # as in the first probe, which then knows the result

    def without(chosen: Sequence[int]) -> Kept:
        return kept_indices(sources, open_without(off, chosen, len(found.names)))

    silent = probe.silent(without, len(found.groups))
    for group in silent:
        labels = torch.isin(found.of_label, found.groups[group]).nonzero().squeeze(1)
        trace.ledger.freeze(labels, "no output moves with it, so that its removal cannot be tried (numeric probe)")
    return variables_of(trace) if silent else found


def _probed(trace: Trace, found: Variables, probe: Probe, ways: Ways) -> Variables:
    """Freezes what is not exact in any way of correcting the code's numbers: whole groups where removing a part is not,
    and the last channel but one where only removing all but one is not."""
    found = _shown(trace, found, probe)
    other = partial(uneven, phase=0.5)  # one choice of shares may fit a computed size by chance
    for chosen, whole in ((uneven, True), (other, True), (all_but_one, False), (all_but_one, True)):
        groups, sources, off = found.groups, found.sources(trace), chosen(found.groups)

        def fails(
            some: Sequence[int],
            rules: Sequence[SizeRule],
            groups: list[Tensor] = groups,
            sources: Sources = sources,
            off: list[Tensor] = off,
            variables: int = len(found.names),
        ) -> list[int]:
            chosen, without = [groups[i] for i in some], [off[i] for i in some]
            failing = probe.failing_groups(probe.exact, sources, rules, chosen, without, variables)
            return [some[i] for i in failing]

        bad = ways.failing(found, fails(range(len(groups)), ways.rules(found)), fails)
        if not bad and chosen is all_but_one:
            break
        for group in bad:
            leaving = groups[group] if whole else groups[group][:1]
            labels = torch.isin(found.of_label, leaving).nonzero().squeeze(1)
            reason = "its removal changes the output (numeric probe)"
            trace.ledger.freeze(labels, reason if whole else f"one channel must stay besides it: {reason}")
        found = variables_of(trace) if bad else found
    return found


def _fitted(
    trace: Trace, found: Variables, probe: Probe, ways: Ways, elsewhere: Callable[[], list[Seen]]
) -> tuple[Variables, list[SizeRule]]:
    """The numbers of the code that are corrected, and what may vary with them: the corrections that were chosen are
    held against channels that had no part in the choice and against inputs of another batch and size, and the groups
    for which they are wrong are frozen, as are those without which the network does not train."""
    while found.groups:
        of_label, sources, variables = found.of_label, found.sources(trace), len(found.names)
        rules = ways.rules(found)

        def seen(of_label: Tensor = of_label) -> list[Seen]:
            return [call.with_variables(of_label) for call in elsewhere()]

        sizes = probe.fitted(sources, rules, found.groups, variables, seen)
        reasons: dict[int, str] = {}
        tried = [uneven(found.groups), uneven(found.groups, 0.5)]  # nothing may have fitted all of them
        choices = [*tried, *told_apart(found.groups, 0.25, tried)[1:], all_but_one(found.groups)]
        for off in choices if sizes else []:
            for group in probe.failing_groups(probe.exact, sources, sizes, found.groups, off, variables):
                reasons[group] = "no correction of the numbers in the code fits its removal (numeric probe)"
        # Where no number counts channels the network runs as it stands, as it has in every probe before.
        for other in probe.elsewhere if (rules or sources.norms) and not reasons else []:
            off = uneven(found.groups, 0.25)
            for group in other.failing_groups(other.exact, sources, sizes, found.groups, off, variables):
                reasons[group] = (
                    "no correction of the numbers in the code fits its removal at every batch and input size "
                    "(numeric probe)"
                )
        if not reasons:
            off = tried[-1]  # the outputs with zeros are known
            for group in probe.failing_groups(probe.trains, sources, sizes, found.groups, off, variables):
                reasons[group] = "without it training mode fails, in code that runs only there (probe)"
            for group in probe.failing_groups(probe.exact_as_run, sources, sizes, found.groups, off, variables):
                reasons[group] = "its removal changes the output where torch takes its fast path (numeric probe)"
        if not reasons:
            return found, sizes
        for group, reason in reasons.items():
            labels = torch.isin(of_label, found.groups[group]).nonzero().squeeze(1)
            trace.ledger.freeze(labels, reason)
        found = variables_of(trace)
    return found, []


def _branches(
    found: Sequence[Candidate], sources: Sources, sizes: list[SizeRule], channels: Variables, probe: Probe
) -> list[Branch]:
    """The branches without which the network computes what it computes with them at zero, in the first way that does:
    in the whole network, with parts of its channels, with every second branch only, and at another batch and size.

    A candidate of a mixed edge is a term of a sum of dnal's own: no code computes with its
    sizes, and there is one way to leave it out. So it is tried with parts of the channels only, and not elsewhere.
    """
    everything = torch.ones(len(channels.names), dtype=torch.bool)
    off = told_apart(channels.groups, besides=[uneven(channels.groups)])  # the first one is the uneven one
    some, *others = [_without(variables, everything) for variables in off]
    silent = set(
        probe.silent(
            lambda chosen: kept_indices(sources, everything, sizes, [found[i].ways[0] for i in chosen]), len(found)
        )
    )
    found = [candidate for i, candidate in enumerate(found) if i not in silent]
    # Every second candidate of an edge is tried at once: without all of them an edge may have nothing left. Branches
    # that stand in others are tried apart: they would be gone with those.
    before = [sum(other.edge == c.edge for other in found[:i]) for i, c in enumerate(found)]
    side = [0 if c.edge is None else number % 2 for c, number in zip(found, before, strict=True)]
    turns = list(zip(side, depths(found), strict=True))
    apart = [[i for i, turn in enumerate(turns) if turn == one] for one in sorted(set(turns))]
    together = [[i for i, turn in enumerate(side) if turn == one] for one in sorted(set(side))]
    residual = [own for part in apart if (own := [i for i in part if found[i].edge is None])]
    good: dict[int, Bypass] = {i: candidate.ways[0] for i, candidate in enumerate(found) if candidate.edge is not None}
    for part in residual:
        pending = [(i, list(found[i].ways)) for i in part]
        while pending:
            tried = [ways[0] for _, ways in pending]
            bad = set(probe.failing_bypasses(sources, sizes, tried, everything))
            good |= {i: tried[n] for n, (i, _) in enumerate(pending) if n not in bad}
            pending = [(i, ways[1:]) for n, (i, ways) in enumerate(pending) if n in bad and len(ways) > 1]
    choices = [(probe, some, part) for part in apart]
    choices += [(probe, some, part[first::2]) for part in residual for first in range(2)]
    choices += [(probe, some, part) for part in together if part not in apart]
    choices += [(probe, other, part) for other in others for part in residual]
    elsewhere = probe.elsewhere if good and residual else []
    choices += [(other, some, part) for other in elsewhere for part in residual]
    for at, stay, part in choices:
        chosen = [i for i in part if i in good]
        for n in at.failing_bypasses(sources, sizes, [good[i] for i in chosen], stay):
            del good[chosen[n]]
    return [Branch(good[i].name, len(everything) + n, good[i]) for n, i in enumerate(sorted(good))]


def _without(off: Sequence[Tensor], open_variables: Tensor) -> Tensor:
    result = open_variables.clone()
    for variables in off:
        result[variables] = False
    return result


def _helped(
    network: nn.Module, plain: Sequence[str], sources: Sources, sizes: Sequence[SizeRule], branches: Sequence[Branch]
) -> list[str]:
    """See ``Space.helped``."""
    found = {rule.path for rule in sizes if isinstance(rule.target, Argument)}
    for path, module in network.named_modules():
        own = [sources[f"{path}.{name}" if path else name] for name, _ in named_tensors(module)]
        varies = any(ids is not None for dims in own for ids in dims)
        if (isinstance(module, nn.MultiheadAttention) and varies) or (path in plain and isinstance(module, SamePadded)):
            found.add(path)
    found |= {one.path for branch in branches for one in branch.bypass.modules if one.kind in HELPERS}
    return [path for path, _ in network.named_modules() if path in found]


def _choices(branches: Sequence[Branch], edges: Mapping[str, MixedEdge], trace: Trace) -> list[Tensor]:
    """See ``Space.choices``."""
    found = []
    for edge, module in edges.items():
        own = [b.variable for b in branches if candidate_of(edge, b.name) == b.name]
        if own and len(own) == len(module.candidates) and not module.shortcut:
            found.append(torch.tensor(own))
    products = {m.path for m in trace.multiplications}
    if not found and branches and leaves_nothing([b.bypass for b in branches], products, trace.parameters):
        found.append(torch.tensor([b.variable for b in branches]))
    return found


def macs(network: nn.Module, example_inputs: Inputs) -> int:
    """Multiply-accumulates of one example (not of the batch) through the network's convolutions and matrix products:
    those of a pass on a batch of one. What is computed once for all examples (a table of relative positions) counts in
    full.

    Recurrent and bilinear layers and attention are matrix products too. Elementwise operations, normalisation, pooling
    and biases are not counted (see ``dnal.space.cost``). A warning names operations that dnal does not know and that
    may multiply weights.

    Examples:
        >>> dnal.macs(nn.Conv2d(3, 8, 3), torch.randn(2, 3, 8, 8))  # 3 x 3 x 3 inputs, 8 outputs, 6 x 6 places
        7776
    """
    trace = _counting(network, example_inputs)
    _warn_of_uncounted(_uncounted(trace))
    return round(counted(trace.multiplications))


def known_macs(network: nn.Module, example_inputs: Inputs) -> int:
    """The same without the warning, for who has been warned when the Space was found."""
    return round(counted(_counting(network, example_inputs).multiplications))


def macs_of_weights(network: nn.Module, example_inputs: Inputs) -> list[tuple[str, float]]:
    """The multiply-accumulates of one example, of each product with the name of its weight; products of two values have
    that of none."""
    return [(m.name, counted([m])) for m in _counting(network, example_inputs).multiplications]


def macs_of_modules(network: nn.Module, example_inputs: Inputs) -> list[tuple[str, float]]:
    """The path of the module that runs each product, and its multiply-accumulates for one example."""
    return [(m.path, counted([m])) for m in _counting(network, example_inputs).multiplications]


def _counting(network: nn.Module, example_inputs: Inputs) -> Trace:
    trace = traced(network, example_inputs, RULES)
    per_example(trace, network, example_inputs)
    return trace


def _uncounted(trace: Trace) -> dict[str, list[str]]:
    """See ``Space.uncounted``."""
    found: dict[str, list[str]] = {}
    for operation, path in trace.uncounted:
        found.setdefault(operation, []).append(path)
    return found


def _warn_of_uncounted(operations: Mapping[str, Sequence[str]]) -> None:
    if operations:
        named = ", ".join(f"{name} (in '{paths[0]}')" if paths[0] else name for name, paths in operations.items())
        warnings.warn(
            f"the MACs of {named} are not counted, since dnal does not know what it multiplies: the network costs more "
            "than is stated, and a bound on the MACs holds for the rest alone. Say its formula with "
            "torch.utils.flop_counter.register_flop_formula, or bound parameters or latency.",
            stacklevel=3,
        )


def _groups(
    members: list[Tensor], names: list[tuple[str, int, int]], sources: Sources, parameters: set[str]
) -> list[Group]:
    group_of = torch.full((len(names) + 1,), -1, dtype=torch.long)  # the last entry answers for source -1
    for number, variables in enumerate(members):
        group_of[variables] = number
    places: list[list[tuple[str, int]]] = [[] for _ in members]
    for tensor, dims in sources.items():
        for dim, ids in enumerate(dims):
            if ids is not None and tensor in parameters:
                for number in group_of[ids].unique().tolist():
                    if number >= 0:
                        places[number].append((tensor, dim))
    return [
        Group(places[number][0][0] if places[number] else names[int(variables[0])][0], variables, places[number])
        for number, variables in enumerate(members)
    ]
