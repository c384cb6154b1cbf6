"""Sizes that a network's code gives as numbers: ``x.view(-1, 64)``, ``x.split([16, 48], 1)``, ``x[:, :16]``.

Beside the traced forward pass a mode notes every such number with the module that runs, the how-many-eth such call of
that module it is, and the labels of the channels that it counts. Once the variables are known, a number becomes a rule:
as many as are left of these channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from dnal.space.labels import core, signature
from dnal.space.surgery.bake import PLAIN, computes_its_weight
from dnal.space.surgery.norms import NormCall, norm_of

if TYPE_CHECKING:
    from dnal.space.graphs import Graphs

MAKERS = {"zeros", "new_zeros"}
"""Those that make a tensor of the size that they are given."""

NORMS = {"layer_norm", "rms_norm"}
"""Those that are given the sizes of their source's last dimensions."""

SIZED = {
    *("view", "reshape", "expand", "repeat", "repeat_interleave", "unflatten"),
    *("split", "split_with_sizes", "narrow", "__getitem__", "__setitem__", *MAKERS, *NORMS),
}
"""The functions whose numbers are sizes of their result or places in their source."""


ANSWER = "shape"
"""What a module asks a tensor for: its shape. Code that computes with it (``C // num_heads``) may need that of the
original, after which each number that it gives a function above is corrected."""

CORRECTED = {*SIZED, ANSWER}
"""What a number of a call that changes may belong to."""

PLACES = {"split", "split_with_sizes", "narrow", "__getitem__", "__setitem__", ANSWER}
"""Those whose numbers are places in their source, or lengths of parts of it."""

_SHAPE: Any = torch.Tensor.shape.__get__  # type: ignore[attr-defined]


def asks_for_shape(function: Any) -> bool:
    """Whether a function of torch is ``tensor.shape`` or ``tensor.size``."""
    name = getattr(function, "__name__", "")
    return name == "size" or (name == "__get__" and function == _SHAPE)


def function_name(function: Any) -> str:
    """By which a function is known: that of an operation of ATen ("view.default") without its overload."""
    known_by = function.overloadpacket if isinstance(function, torch._ops.OpOverload) else function
    return getattr(known_by, "__name__", "")  # no more than torch.compile follows: a repaired network asks as it runs


def sized(name: str, args: tuple[Any, ...]) -> int | None:
    """How many arguments stand before the numbers of a call (the tensor that it is called on); None if it has none."""
    if name not in SIZED:
        return None
    if args and isinstance(args[0], Tensor):
        return 1
    return 0 if name in MAKERS else None


class Attribute(NamedTuple):
    """A number that a module remembers: the ``item``-th in a list, tuple or dict, or -1 for the attribute itself. In a
    graph of torch.fx, the ``item``-th number in the arguments of the node of this name, without the first argument."""

    name: str
    item: int


class Argument(NamedTuple):
    """The ``position``-th number of a call of ``function`` with ``length`` numbers; ``which`` of these calls while the
    module runs, -1 = each of them."""

    function: str
    length: int
    position: int
    which: int


class Change(NamedTuple):
    """A number that is another one in the compact network. ``multiple``: it comes in multiples of ``old`` (a batch of
    heads). Where ``old`` is ``new``, it is this one whatever the code computes from the sizes that are left; so is the
    answer to a module that asks for a shape (:data:`ANSWER`)."""

    path: str
    target: Attribute | Argument
    old: int
    new: int
    multiple: bool = False


@dataclass(frozen=True)
class SizeRule:
    """A number in the code of module ``path`` and the channels it counts.

    ``channels``: labels, later variable ids, shape (old, any); a row stays if one of its variables does. ``sign``: -1
    where the code counts from the end. ``pinned``: the code computes it from other sizes, and it is the count of its
    channels whatever comes out there.
    """

    path: str
    target: Attribute | Argument
    channels: Tensor
    sign: int = 1
    multiple: bool = False
    pinned: bool = False

    @property
    def old(self) -> int:
        return self.sign * self.channels.size(0)

    def change(self, open_variables: Tensor) -> Change:
        """What becomes of the number where exactly ``open_variables`` stay."""
        new = self.old if self.is_answer else self.sign * self._left(open_variables)
        return Change(self.path, self.target, self.old, new, self.multiple)

    @property
    def is_answer(self) -> bool:
        """Whether it is a number in the shape that the module asks for: that of the original."""
        return isinstance(self.target, Argument) and self.target.function == ANSWER

    def changes(self, open_variables: Tensor) -> bool:
        """Whether the number is another one than it would be, where exactly ``open_variables`` stay."""
        return self.pinned or self._left(open_variables) != self.channels.size(0)

    def _left(self, open_variables: Tensor) -> int:
        ids = self.channels
        stays = (ids < 0) | open_variables[ids.clamp(min=0)]
        return int(stays.any(1).sum())

    def per_repeat(self) -> SizeRule:
        """The rule for one repeat, where the channels repeat (the heads of every example of a batch)."""
        size = self.channels.size(0)
        for period in range(1, size // 2 + 1):
            repeated = self.channels.view(-1, period, self.channels.size(1)) if size % period == 0 else None
            if repeated is not None and bool((repeated == repeated[:1]).all()):
                return replace(self, channels=repeated[0], multiple=True) if period > 1 else self
        return self


def with_variables(rules: Iterable[SizeRule], of_label: Tensor) -> list[SizeRule]:
    """The rules that count variables, in terms of them; the columns of a row that say the same are merged."""
    result = []
    for rule in rules:
        ids = torch.where(rule.channels < of_label.numel(), of_label[rule.channels.clamp(max=of_label.numel() - 1)], -1)
        if bool((ids >= 0).any()):
            same = bool((ids == ids[:, :1]).all())
            result.append(replace(rule, channels=ids[:, :1] if same else ids.unique(dim=1)))
    return result


@dataclass(frozen=True)
class Seen:
    """A call with numbers in one ``run`` of module ``path``, and what they count where the module itself made it, not
    something in it."""

    path: str
    run: int
    function: str
    which: int
    numbers: tuple[int, ...]
    rules: tuple[SizeRule, ...] = ()

    def with_labels(self, function: Callable[[Tensor], Tensor]) -> Seen:
        """The same with other labels."""
        return replace(self, rules=tuple(replace(rule, channels=function(rule.channels)) for rule in self.rules))

    def with_variables(self, of_label: Tensor) -> Seen:
        """The same in terms of variables."""
        return replace(self, rules=tuple(with_variables(self.rules, of_label)))

    def renamed(self, names: Tensor) -> Seen:
        """The same with other labels for its channels, ``names`` by label."""
        return replace(self, rules=tuple(replace(rule, channels=names[rule.channels]) for rule in self.rules))

    def rule(self, position: int) -> SizeRule | None:
        """What the number at ``position`` counts."""
        return next((r for r in self.rules if isinstance(r.target, Argument) and r.target.position == position), None)


def agreed(calls: Iterable[Seen]) -> list[SizeRule]:
    """The rules on which all runs of a module agree, of this and of other inputs.

    A number is known by its call, the how-many-eth of its kind: at another size any number may stand in the place of
    this one. Where other inputs take other turns, or more of them, counting calls would lead astray; then each call of
    the kind gets the rule, if without exception they count the same channels. What is left has no rule: another size
    would be silently wrong where two numbers happen to be equal.
    """
    kinds: dict[tuple[str, str, int], dict[int, list[Seen]]] = {}
    for call in calls:
        kind = (call.path, call.function, len(call.numbers))
        kinds.setdefault(kind, {}).setdefault(call.run, []).append(call)
    found: list[SizeRule] = []
    for (path, function, length), runs in kinds.items():
        for position in range(length):
            rows = [[call.rule(position) for call in run] for run in runs.values()]
            columns = [[row[which] for row in rows if which < len(row)] for which in range(max(map(len, rows)))]
            merged = [_one(function, column) for column in columns]
            every = _one(function, [rule for row in rows for rule in row])
            whole = all(rule is not None or not any(column) for rule, column in zip(merged, columns, strict=True))
            more = len({len(row) for row in rows}) > 1  # a loop over positions: other inputs may have more yet
            # a multiple may be anything else elsewhere
            each = (more or not whole) and every is not None and not every.multiple
            places = [(-1, every)] if each else list(enumerate(merged))
            for which, rule in places:
                if rule is not None:
                    found.append(replace(rule, path=path, target=Argument(function, length, position, which)))
    return found


def _one(function: str, rules: Sequence[SizeRule | None]) -> SizeRule | None:
    """The rule that all of these are, None where two differ or one is missing. A size is one for each repeat of its
    channels (the examples of a batch); a place in a tensor (the end of the second of three equal parts) stays that."""
    repeats = function not in PLACES
    single = [rule.per_repeat() if repeats else rule for rule in rules if rule is not None]
    same = len(single) == len(rules) and all(
        rule.sign == single[0].sign and torch.equal(rule.channels, single[0].channels) for rule in single
    )
    return replace(single[0], multiple=any(rule.multiple for rule in single)) if single and same else None


def changes(rules: Iterable[SizeRule], open_variables: Tensor) -> list[Change]:
    """The numbers that change where exactly ``open_variables`` stay, and those that must not. What counts channels
    that are all gone, with the branch that held them, counts none of them any more."""
    known = [rule.change(open_variables) for rule in rules if rule.changes(open_variables)]
    return [change for change in known if change.new]


def numbers(tree: Any) -> list[int]:
    """The whole numbers in the arguments of a call, in order."""
    found: list[int] = []

    def note(_: int, value: int) -> int:
        found.append(value)
        return value

    with_numbers(tree, note)
    return found


def with_numbers(tree: Any, function: Callable[[int, Any], Any]) -> Any:
    """The arguments of a call with each whole number replaced by ``function(its position, number)``; under
    torch.export a number may be a symbol, under torch.jit.trace one that was taken from a shape is a tensor."""
    position = -1
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]

    def visit(item: Any) -> Any:
        nonlocal position
        of_shape = tracing and isinstance(item, Tensor) and not item.dim() and item.dtype == torch.int64
        if type(item) is int or isinstance(item, torch.SymInt) or of_shape:
            position += 1
            return function(position, item)
        if type(item) is slice:
            return slice(visit(item.start), visit(item.stop), visit(item.step))
        if isinstance(item, dict):
            return {key: visit(value) for key, value in item.items()}
        if isinstance(item, torch.Size):
            return tuple(visit(i) for i in item)
        if type(item) in (tuple, list):
            return type(item)(visit(i) for i in item)
        return item

    return visit(tree)


Layers = Callable[[Tensor], Sequence[Tensor]]


class Recorder(TorchFunctionMode):
    """Notes the numbers of a forward pass; ``layers`` finds the label layers of a value, ``loose`` those of what it
    only repeats, ``runs`` numbers the runs of modules, ``run`` runs a function; ``answers``: the shapes too that
    modules ask for."""

    def __init__(
        self,
        network: nn.Module,
        layers: Layers,
        loose: Layers,
        runs: Iterator[int],
        run: Callable[[Any, Any, Any], Any],
        graphs: Graphs,
        *,
        answers: bool = False,
    ) -> None:
        super().__init__()
        self._run = run
        self.calls: list[Seen] = []
        self.computed: list[str] = []  # the layers that compute their weight
        self.norm: NormCall | None = None  # the function that runs, if it may take a mean over channels
        self.counting = False
        self.calls_of: Counter[str] = Counter()
        self.results_of: dict[str, int] = {}
        self._network = network
        self._layers = layers
        self._loose = loose
        self._runs = runs
        self._graphs = graphs
        self._answers = answers
        # The modules that run, with the number of their run and their calls so far.
        self._running: list[tuple[str, int, Counter[tuple[str, int]]]] = []
        self._hooks: list[RemovableHandle] = []
        for path, module in network.named_modules():
            self._hooks.append(module.register_forward_pre_hook(self._enter(path)))
            self._hooks.append(module.register_forward_hook(self._leave, prepend=True, always_call=True))

    @property
    def path(self) -> str:
        """The innermost module that runs."""
        return self._running[-1][0] if self._running else ""

    @property
    def module(self) -> nn.Module:
        return self._network.get_submodule(self.path)

    @contextmanager
    def moving_labels(self) -> Iterator[None]:
        """What runs within moves labels, not data."""
        self.counting = True
        try:
            yield
        finally:
            self.counting = False

    def close(self) -> None:
        self._graphs.close()
        for hook in self._hooks:
            hook.remove()

    def _enter(self, path: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self._running.append((path, next(self._runs), Counter()))
            self.calls_of[path] += 1

        return enter

    def _leave(self, module: nn.Module, args: Any, result: Any) -> None:
        if self._running:
            path = self._running.pop()[0]
            single = 0 if isinstance(result, Tensor) else -1
            self.results_of[path] = len(result) if isinstance(result, tuple) else single

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.norm = self._norm(norm_of(func))
        out = self._run(func, args, kwargs)
        self.norm = None
        name = function_name(func)
        if name in PLAIN and self._running and len(args) > 1:
            path = self._running[-1][0]
            if computes_its_weight(self._network.get_submodule(path), args[1]) and path not in self.computed:
                self.computed.append(path)
        first = sized(name, args)
        if first is not None and self._running:
            given = tuple(numbers((args[first:], kwargs)))
            kind = (name, len(given))
            with self.moving_labels():
                counted = [
                    (position, rows, sign)
                    for position, rows, sign in self._counted(name, args, kwargs, out)
                    if rows is not None and rows.size(0) == abs(given[position]) > 0
                ]
            innermost = self._running[-1][1]
            for path, run, count in self._running:
                which = count[kind]
                rules = self._graphs.rules(self.module, path, given, counted) if run == innermost else ()
                if rules is None:
                    rules = tuple(SizeRule(path, Argument(*kind, p, which), rows, sign) for p, rows, sign in counted)
                self.calls.append(Seen(path, run, name, which, given, rules))
                count[kind] += 1
        elif self._answers and self._running and asks_for_shape(func) and args and isinstance(args[0], Tensor):
            self._asked(args[0])
        return out

    def _asked(self, tensor: Tensor) -> None:
        """Notes that a module asks for a shape, as a call whose numbers are the sizes."""
        with self.moving_labels():
            given = tuple(tensor.shape)
            counted = [(d, self._rows(tensor, d)) for d in range(len(given))]
        kind, innermost = (ANSWER, len(given)), self._running[-1][1]
        plain = not isinstance(self.module, GraphModule)
        for path, run, count in self._running:
            which = count[kind]
            rules = tuple(
                SizeRule(path, Argument(*kind, d, which), rows)
                for d, rows in counted
                if rows is not None and run == innermost and plain
            )
            self.calls.append(Seen(path, run, ANSWER, which, given, rules))
            count[kind] += 1

    def _norm(self, name: str) -> NormCall | None:
        """The call of a function of this name that the innermost module makes now."""
        if not name or not self._running:
            return None
        path, _, count = self._running[-1]
        found = NormCall(path, name, count[name, -1], 0)
        for _, _, each in self._running:
            each[name, -1] += 1
        return found

    def _rows(self, tensor: Tensor, dim: int, *, repeated: bool = False) -> Tensor | None:
        """The labels along a dimension, one row per index; ``repeated``: of what the value only repeats."""
        for layer in [*(() if repeated else self._layers(tensor)), *self._loose(tensor)]:
            dims = signature(layer)
            if dim in dims:
                return core(layer, dims).movedim(dims.index(dim), 0).reshape(layer.size(dim), -1)
        return None

    def _counted(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any
    ) -> list[tuple[int, Tensor | None, int]]:
        """(position of the number, rows of the channels it counts, sign) for each number of a call."""
        if name in MAKERS:
            given = numbers((args[sized(name, args) :], kwargs))
            return [(d, self._rows(out, d), 1) for d in range(out.dim())] if len(given) >= out.dim() else []
        source, given = args[0], numbers((args[1:], kwargs))
        if name in NORMS:
            return [(d, self._rows(source, source.dim() - len(given) + d), 1) for d in range(len(given))]
        if name in ("view", "reshape", "expand"):
            if not isinstance(out, Tensor) or len(given) != out.dim():
                return []
            return [(d, self._rows(out, d), 1) for d, size in enumerate(given) if size >= 0]
        if name == "repeat":
            new = out.dim() - source.dim()
            single = [d for d in range(out.dim()) if d < new or source.size(d - new) == 1]
            return [(d, self._rows(out, d, repeated=True), 1) for d in single if len(given) == out.dim()]
        if name == "repeat_interleave":
            if len(args) < 2 or type(args[1]) is not int:
                return []
            dim = args[2] if len(args) > 2 else kwargs.get("dim")
            rows = None if dim is None else self._rows(out, dim % out.dim(), repeated=True)
            return [] if rows is None else [(0, rows[: args[1]], 1)]
        if name == "unflatten":
            return [(1 + i, self._rows(out, given[0] % source.dim() + i), 1) for i, n in enumerate(given[1:]) if n > 0]
        if name in ("split", "split_with_sizes"):
            sections = args[1] if len(args) > 1 else next(iter(kwargs.values()))
            dim = (args[2] if len(args) > 2 else kwargs.get("dim", 0)) % source.dim()
            pieces = out[:1] if isinstance(sections, int) else out
            return [(i, self._rows(piece, dim), 1) for i, piece in enumerate(pieces)]
        if name == "narrow":
            if len(given) != 3:
                return []
            dim, start, length = given
            rows = self._rows(source, dim % source.dim())
            return [] if rows is None else [(1, rows[:start], 1), (2, rows[start : start + length], 1)]
        return self._sliced(source, args[1])

    def _sliced(self, source: Tensor, index: Any) -> list[tuple[int, Tensor | None, int]]:
        found: list[tuple[int, Tensor | None, int]] = []
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(p, Tensor) and p.dtype == torch.bool for p in parts):
            return found  # a mask covers several dimensions
        taken = sum(p is not None and p is not Ellipsis for p in parts)
        dim, position = 0, 0
        for part in parts:
            if part is None:
                continue
            if part is Ellipsis:
                dim += source.dim() - taken
                continue
            if isinstance(part, slice):
                rows = self._rows(source, dim) if part.step in (None, 1) else None
                for end in (part.start, part.stop):
                    if type(end) is int and rows is not None:
                        found.append((position, rows[:end] if end >= 0 else rows[end:], 1 if end >= 0 else -1))
                    position += type(end) is int
                position += type(part.step) is int
            else:
                position += len(numbers(part))
            dim += 1
        return found
