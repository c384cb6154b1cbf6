"""One real forward pass with labels flowing beside every value.

A ``TorchDispatchMode`` sees the ATen operations that actually ran; for each, the rule of its name (``rules/``) says
what happens to the labels. An operation without a rule freezes whatever labelled values it touches and is counted.
"""

from __future__ import annotations

import copy
import itertools
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dnal.base.errors import lacks_memory
from dnal.space.graphs import Graphs
from dnal.space.labels import Ledger, along, core, distinct, matched, per_index, rows, signature
from dnal.space.living import Living
from dnal.space.operations import Operand, Operation, sides
from dnal.space.surgery.inputs import Inputs, at_batch, batch_size, cloned, for_each_example, offer_others
from dnal.space.surgery.norms import NormCall
from dnal.space.surgery.running import call, check_changeable, copied, evaluating, undisturbed
from dnal.space.surgery.sizes import Recorder, Seen, SizeRule
from dnal.space.surgery.tensors import answers, held_tensors, named_tensors, tensors_of, without_tensors

logger = logging.getLogger(__name__)

KERNEL = "it runs along a kernel"
"""The reason of dimensions that are no channels at all; not worth listing."""

NOTES = (
    "sizes", "multiplications", "operations", "calls_of", "results_of", "reads", "contracted", "unknown",
    "multiplied", "parts", "joint", "computed", "uncounted", "norms",
)  # fmt: skip
"""What a trace writes down beside its ledger."""


PREPARED = "which a preparation for quantisation put there: remove channels first, and prepare what comes out"
HINTS = {
    "_fused_moving_avg_obs_fq_helper": PREPARED,
    "fake_quantize_per_channel_affine_cachemask": PREPARED,
    "_fake_quantize_learnable_per_tensor_affine": PREPARED,
    "_fake_quantize_learnable_per_channel_affine": PREPARED,
}
"""What to do about operations that have no rule, and need none."""


@dataclass(slots=True)
class Value:
    """What is known of one tensor of the forward pass."""

    layers: list[Tensor] = field(default_factory=list)
    origin: str = "a value whose size is fixed"
    parameter: str | None = None  # set while the tensor IS this parameter or a view of it
    debts: list[Callable[[], None]] = field(default_factory=list)  # what is noted if anybody looks at this value
    loose: list[Tensor] = field(default_factory=list)  # where it only repeats itself: it follows what it meets there


@dataclass(frozen=True, slots=True)
class Multiplication:
    """Multiply-accumulates of one convolution or matrix product: ``factor`` times the product of its ``sides``
    (outputs, inputs, for a matrix product also rows); a side is labels, (n,) or a row for each index, (n, any), or a
    count where it has no labels."""

    name: str
    factor: float
    sides: tuple[Tensor | int, ...]
    path: str = ""  # the module that ran it
    alone: bool = False  # whether nothing of it was computed from the network's inputs

    def counts(self, of_label: Tensor) -> list[Tensor | int]:
        """The sides in terms of variables: ids, (n,), or a count."""
        found: list[Tensor | int] = []
        for side in self.sides:
            ids = of_label[side] if isinstance(side, Tensor) else None
            if ids is not None and ids.dim() == 2:
                ids = per_index(ids)
            found.append(ids if ids is not None else side if isinstance(side, int) else side.size(0))
        return found


@dataclass(slots=True)
class Call:
    """One dispatched operation: its name without overload and in-place mark, its arguments and its results. Of a
    function of torch that has a rule as a whole, ``func`` is the name."""

    name: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(name, default)


Rule = Callable[["Trace", Call], None]
Side = tuple[Tensor, int, Tensor | None]


class Trace(TorchDispatchMode):
    """Holds the labels of every value seen; rules read and write it.

    ``owners`` maps a tensor's name to the first label of each of its dimensions (None for dimensions of size 1).
    ``opens``: whether what takes a mean over channels may do so over those that are open; ``norms`` are these calls.
    """

    def __init__(
        self,
        network: nn.Module,
        batch: int,
        rules: Mapping[str, Rule],
        ledger: Ledger | None = None,
        *,
        opens: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ledger = ledger or Ledger()
        self.batch = batch
        self.rules = rules
        self.opens = opens
        self.norms: dict[NormCall, Tensor] = {}
        self.owners: dict[str, tuple[Tensor | None, ...]] = {}
        self.used: set[str] = set()
        self.reads: list[Tensor] = []
        self.parts: list[Tensor] = []
        self.joint: list[Tensor] = []  # layers that vary along several dimensions: all but one keep their sizes
        self.contracted: list[Tensor] = []
        self.multiplied: list[Tensor] = []
        self.sizes: list[SizeRule] = []
        self.calls: list[Seen] = []
        self.computed: list[str] = []  # the layers that compute their weight
        self.lengths: dict[tuple[str, int], tuple[str, int]] = {}  # of weight norm: (direction, dim) -> (length, dim)
        self.widths = _widths(network)
        self.within: list[Tensor] = []  # what the function was given that runs as a whole
        self.parameters = [name for name, _ in network.named_parameters(remove_duplicate=False)]
        self.multiplications: list[Multiplication] = []
        self.operations: list[Operation] = []
        self.calls_of: Counter[str] = Counter()  # of the modules
        self.results_of: dict[str, int] = {}  # lengths of the tuples that modules return; 0: a tensor, -1: neither
        self.unknown: Counter[str] = Counter()
        self.uncounted: Counter[tuple[str, str]] = Counter()  # (operation, module): it may multiply, what is not known
        self._canonical: dict[str, str] = {}  # a tied tensor's names -> the first of them
        self._places: dict[int, list[tuple[str, int]]] = {}  # the tensors and dimensions that own a first label
        self._names: Living[str] = Living()
        self._values: Living[Value] = Living()
        self._from_inputs: Living[bool] = Living()  # the inputs and what was computed from them
        self._alone = False  # whether the operation that runs takes nothing of that
        self._numbers: Living[int] = Living()  # which value a tensor holds at the moment
        self._number = itertools.count()
        self._sides: dict[Any, tuple[list[Tensor], tuple[Tensor | None, ...]]] = {}  # of values with these layers
        self.notes_operations = True  # whether ``operations`` is kept, a third of the work of a trace
        self._recorder: Recorder | None = None
        self._runs = itertools.count()  # of the modules
        self._first: list[Tensor] = []  # the outputs of the first pass
        self.answered: set[int] = set()  # and the numbers of these values
        self._was_elsewhere = False
        self.adopt(network)
        self._owned = self.ledger.size

    def adopt(self, network: nn.Module) -> None:
        """Gives every dimension of every parameter and buffer its labels (again the same ones for a copy)."""
        for name, tensor in named_tensors(network):
            first = self._names.get(tensor)
            if first is not None:  # tied: one tensor under two names
                self._canonical[name] = first
                self._own(name, self.owners[first])
                continue
            if name not in self.owners:
                self._own(name, tuple(self.ledger.fresh(n) if n > 1 else None for n in tensor.shape))
            layers = [along(own, d, tensor.shape) for d, own in enumerate(self.owners[name]) if own is not None]
            self._remember(tensor, Value(layers, f"'{name}'", name))
            self._names[tensor] = name

    def _own(self, name: str, dims: tuple[Tensor | None, ...]) -> None:
        if name in self.owners:
            return
        self.owners[name] = dims
        for dim, own in enumerate(dims):
            if own is not None:
                self._places.setdefault(int(own[0]), []).append((name, dim))

    def unused(self) -> list[str]:
        """Names of the parameters and buffers that no operation has touched so far."""
        return [name for name in self.owners if self._canonical.get(name, name) not in self.used]

    def run(self, network: nn.Module, inputs: Inputs) -> list[Tensor]:
        """One forward pass; the network's outputs, which are returned, are frozen."""
        for tensor in held_tensors(inputs):
            self._remember(tensor, Value(origin="the network's input"))
            self._from_inputs[tensor] = True
        recorder = self._recorder = Recorder(
            network,
            self.layers_of,
            lambda tensor: self.value(tensor).loose,
            self._runs,
            self._called,
            Graphs(network),
            answers=self.opens,
        )
        try:
            with recorder, self:
                out = call(network, inputs)
        finally:
            recorder.close()
            self._recorder = None  # which holds the network
        self.calls_of += recorder.calls_of
        self.results_of |= recorder.results_of
        self.computed += [path for path in recorder.computed if path not in self.computed]
        self.calls += recorder.calls
        seen = {rule.path for rule in self.sizes}
        self.sizes += [rule for call in recorder.calls for rule in call.rules if rule.path not in seen]
        outputs = answers(out)
        for tensor in outputs:
            self.freeze(tensor, "it is the network's output")
        if not outputs:
            for dims in self.owners.values():
                for labels in dims:
                    self.ledger.freeze(labels, "the network returns nothing that holds a tensor")
        if not self._first:
            self._first = outputs
            self.answered = {number for out in outputs if (number := self._numbers.get(out)) is not None}
        return outputs

    def elsewhere(self, network: nn.Module, inputs: Inputs) -> list[Seen]:
        """The calls with numbers of all inputs seen so far, and of another batch and size, as far as the network takes
        those."""
        if not self._was_elsewhere:
            self._was_elsewhere = True
            offer_others(inputs, partial(self._takes, network))
        return self.calls

    def _takes(self, network: nn.Module, inputs: Inputs) -> bool:
        """Runs the network on other inputs, of which only the calls stay; whether it takes them."""
        calls, labels = len(self.calls), self.ledger.size
        try:
            self.notes_operations = False
            with self._aside(), undisturbed(inputs), evaluating(network):
                twin = copied(network)
                self.adopt(twin)
                outputs = self.run(twin, cloned(inputs))
                owned = self.ledger.owned(labels)  # what this pass ties is forgotten
                self.calls[calls:] = [call.with_labels(owned) for call in self.calls[calls:]]
            taken = for_each_example(self._first, outputs, (self.batch, batch_size(inputs)))
        except Exception as error:  # whatever the user's forward raises
            if lacks_memory(error):
                raise
            logger.debug("the network takes no other input: %s", error)
            taken = False
        finally:
            self.notes_operations = True
        if not taken:
            del self.calls[calls:]
        return taken

    @contextmanager
    def _aside(self, *kept: str) -> Iterator[None]:
        """What is written down within is forgotten, ``kept`` excepted."""
        known = {name: copy.copy(getattr(self, name)) for name in NOTES if name not in kept}
        written = self.ledger.written()
        try:
            yield
        finally:
            for name, value in known.items():
                setattr(self, name, value)
            self.ledger.forget(written)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self._recorder is not None and self._recorder.counting:
            return out
        name = func.overloadpacket.__name__
        given = tensors_of((args, kwargs))
        for tensor in given:
            self._pay(tensor)
        labelled = self._labelled(given)
        for tensor in labelled:
            name_of = self._names.get(tensor)
            if name_of is not None:
                self.used.add(name_of)
        self._alone = not any(t in self._from_inputs for t in given)
        inputs = tuple([self._operand(t, new=False) for t in given]) if self.notes_operations else ()
        step = Call(name.rstrip("_") if not name.startswith("__") else name, func, args, kwargs, out)
        rule = self.rules.get(step.name)
        if rule is None and torch.Tag.pointwise in func.tags:
            rule = self.rules["pointwise"]
        elif rule is None and func.is_view:
            rule = self.rules["view"]
        if rule is not None:
            self._apply(rule, step, given, labelled)
        else:
            self._count(step, given)
            if labelled:
                self._give_up(step, labelled, HINTS.get(step.name, "an operation without a rule"))
        made = tensors_of(out)
        if not self._alone:
            for tensor in made:
                self._from_inputs[tensor] = True
        if not self.notes_operations:
            return out
        outputs = tuple([self._operand(t, new=True) for t in made])
        plain = without_tensors(args)
        self.operations.append(Operation(step.name, self.path, plain, inputs, outputs, _is_mutable(step)))
        return out

    def _labelled(self, tensors: list[Tensor]) -> list[Tensor]:
        """Those of the tensors that carry labels."""
        return [t for t in tensors if (value := self._values.get(t)) is not None and value.layers]

    def _apply(self, rule: Rule, step: Call, given: list[Tensor], labelled: list[Tensor]) -> None:
        """Runs the rule of an operation; ``labelled``: the tensors among those ``given`` that carry labels."""
        try:
            rule(self, step)
        except Exception as error:  # a case its rule did not foresee: as if there were no rule
            if lacks_memory(error):
                raise
            logger.debug("the rule of %s failed: %s", step.func, error)
            self._count(step, given)
            self._give_up(step, labelled, "an operation whose rule failed")

    def _called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a function of torch. One that different devices make different operations of has a rule as a whole
        ("torch.lstm"), so that the channels do not depend on the device; what its operations make has labels only for
        the sake of their sizes."""
        name = f"torch.{func.__name__}" if isinstance(func, BuiltinFunctionType) else ""
        if name not in self.rules:
            return func(*args, **kwargs)
        given = tensors_of((args, kwargs))
        assert self._recorder is not None
        with self._recorder.moving_labels():
            for tensor in given:
                self._pay(tensor)
        self.within = given
        with self._aside("operations"):
            out = func(*args, **kwargs)
        self.within = []
        self._alone = not any(t in self._from_inputs for t in given)
        with self._recorder.moving_labels():
            call = Call(func.__name__, name, args, kwargs, out)
            self._apply(self.rules[name], call, given, self._labelled(given))
        return out

    def _operand(self, tensor: Tensor, *, new: bool) -> Operand:
        number = None if new else self._numbers.get(tensor)
        if number is None:
            number = self._numbers[tensor] = next(self._number)
        layers = self.layers_of(tensor)
        # The same labels pass through many values.
        labels = tensor.dim(), *((layer.data_ptr(), layer.shape, layer.stride()) for layer in layers)
        if labels not in self._sides:
            self._sides[labels] = layers, sides(layers, tensor.dim())
        return Operand(
            number, tuple(tensor.shape), self._sides[labels][1], tensor.element_size(), self._names.get(tensor)
        )

    def _give_up(self, step: Call, labelled: list[Tensor], why: str) -> None:
        self.unknown[str(step.func)] += 1
        for tensor in labelled:
            self.freeze(tensor, f"it reaches {step.func}, {why}")
        for tensor in tensors_of(step.out):
            if not any(tensor is t for t in labelled):
                self._remember(tensor, Value(origin=f"the result of {step.func}, {why}"))

    def _count(self, step: Call, given: list[Tensor]) -> None:
        """What an operation without a rule multiplies, if torch has a formula for it: its sizes are fixed. Else it is
        noted if it may multiply a weight with a value. What writes into its argument (indexed assignment, scattering)
        moves values, and what takes parameters alone computes one of them."""
        formula = flop_registry.get(getattr(step.func, "overloadpacket", None))
        if formula is not None:
            try:
                flops = formula(*step.args, **step.kwargs, out_val=step.out)
            except Exception as error:  # shapes that torch's formula did not foresee
                logger.debug("torch's formula for %s failed: %s", step.func, error)
            else:
                self.multiply(None, flops / 2 / self.batch)
                return
        weights = [t for t in given if self.value(t).parameter and sum(size > 1 for size in t.shape) > 1]
        values = [t for t in given if not self.value(t).parameter and (t.is_floating_point() or t.is_complex())]
        if formula is not None or (weights and values and not _is_mutable(step)):
            self.uncounted[str(step.func), self.path] += 1

    @property
    def path(self) -> str:
        """The innermost module that runs."""
        return self._recorder.path if self._recorder is not None else ""

    @property
    def module(self) -> nn.Module | None:
        """The same, itself."""
        return self._recorder.module if self._recorder is not None else None

    def names_of(self, name: str) -> list[str]:
        """All names of a tensor."""
        first = self._canonical.get(name, name)
        return [first, *(other for other, same in self._canonical.items() if same == first)]

    # What rules use.

    def value(self, tensor: Tensor | None) -> Value:
        return self._values.get(tensor) or Value()

    def layers_of(self, tensor: Tensor) -> list[Tensor]:
        return self.value(tensor).layers

    def owe(self, tensor: Tensor, debts: Iterable[Callable[[], None]]) -> None:
        """Calls these only once anything looks at the value."""
        self.value(tensor).debts.extend(debts)

    def _pay(self, tensor: Tensor) -> None:
        value = self._values.get(tensor)
        if value is not None and value.debts:
            for debt in value.debts:
                debt()
            self.value(tensor).debts.clear()

    def freeze(self, tensor: Tensor, reason: str) -> None:
        self._pay(tensor)
        for layer in self.value(tensor).layers:
            self.ledger.freeze(layer, reason)

    def axis(self, tensor: Tensor | None, dim: int) -> Tensor | None:
        """The labels along one dimension, shape (size,), or None; layers that also vary elsewhere are tied there."""
        if tensor is None:
            return None
        found: Tensor | None = None
        for layer in self.value(tensor).layers:
            if dim in signature(layer):
                dims = signature(layer)
                labels = core(layer, [dim])
                if len(dims) > 1:
                    self.ledger.tie(core(layer, dims).movedim(dims.index(dim), -1), labels)
                if found is not None:
                    self.ledger.tie(found, labels)
                found = labels if found is None else found
        return found

    def settled(
        self, tensor: Tensor, dims: Iterable[int], reason: str, debts: list[tuple[Tensor, str]] | None = None
    ) -> list[Tensor]:
        """The layers of a value whose ``dims`` are mixed: frozen where they vary along these alone; where also along
        others (the channels of several heads, of stacked paths), tied along ``dims``, so that the others may leave.
        With ``debts``, what would freeze is noted there instead."""
        mixed = {d % tensor.dim() for d in dims} if tensor.dim() else set()
        result = []
        for layer in self.value(tensor).layers:
            varying = signature(layer)
            inside = mixed & set(varying)
            if inside and inside == set(varying):
                if debts is None:
                    self.ledger.freeze(layer, reason)
                else:
                    debts.append((layer, reason))
                continue
            first = layer
            for d in inside:
                first = first.narrow(d, 0, 1)
            if inside:
                self.ledger.tie(core(layer, varying), core(first.expand(layer.shape), varying))
            result.append(first.expand(layer.shape))
        return result

    def settled_except(self, tensor: Tensor, dims: Iterable[int], reason: str) -> list[Tensor]:
        """The same for every dimension but ``dims``."""
        return self.settled(tensor, set(range(tensor.dim())) - set(dims), reason)

    def contract(self, labels: Tensor) -> None:
        """Notes channels over which two computed values are multiplied, or one is summed: no parameter reads them
        there."""
        self.contracted.append(distinct(labels))

    def tie_or_freeze(self, left: Tensor | None, right: Tensor | None, reason: str) -> None:
        if left is not None and right is not None:
            self.ledger.tie(left, right)
        else:
            self.ledger.freeze(left, reason)
            self.ledger.freeze(right, reason)

    def put(
        self, tensor: Tensor, layers: list[Tensor], like: Value | None = None, parameter: str | None = None
    ) -> None:
        """Sets what is known of a result. A label that fills a whole tensor is frozen: without it nothing is left."""
        kept = []
        for layer in layers:
            dims = signature(layer)
            if not dims:
                self.ledger.freeze(layer.reshape(-1)[:1], "its removal would leave an empty tensor")
                continue
            if len(dims) > 1:
                self.joint.append(core(layer, dims))
            kept.append(layer)
        origin = like.origin if like is not None else Value().origin
        self._remember(tensor, Value(kept, origin, parameter))

    def meet(self, shape: torch.Size, tensors: list[Tensor]) -> list[Tensor]:
        """The layers of an elementwise result of ``shape``; freezes what meets a value of fixed size."""
        layers: list[Tensor] = []
        covered: list[set[int]] = []  # by tensor: the dimensions of the result along which it carries labels
        for tensor in tensors:
            covered.append(set())
            for layer in self.value(tensor).layers:
                extra = len(shape) - layer.dim()
                fits = extra < 0 or layer.shape == shape
                layers.append(layer if fits else layer[(None,) * extra].expand(shape))
                covered[-1].update([d + len(shape) - tensor.dim() for d in signature(layer)])
        for layer in layers:
            dims = signature(layer)
            for tensor, held in zip(tensors, covered, strict=True):
                for d in dims:
                    own = d - (len(shape) - tensor.dim())
                    if own < 0 or tensor.size(own) <= 1 or d in held or self._follows(tensor, shape, d, layer):
                        continue
                    if tensor.stride(own) == 0:
                        continue  # it is one number along d, whether expanded or not
                    if len(dims) > 1:  # it keeps its size along d, and may lose channels along the others
                        self.ledger.tie(core(layer, dims), core(layer.narrow(d, 0, 1).expand(layer.shape), dims))
                    else:
                        self.ledger.freeze(layer, f"it meets {self.value(tensor).origin}")
        return matched(self.ledger, layers)

    def _follows(self, tensor: Tensor, shape: torch.Size, dim: int, layer: Tensor) -> bool:
        """Ties a value that only repeats itself along a dimension to what it meets there; whether it does."""
        found = [loose for loose in self._spread_loose(tensor, shape) if dim in signature(loose)]
        for loose in found:
            dims = sorted({*signature(loose), *signature(layer)})
            # Repeated for the width of every head, it keeps that where whole heads leave.
            decide = self.ledger.pair if set(signature(loose)) < set(signature(layer)) else self.ledger.tie
            decide(core(loose, dims), core(layer, dims))
        return bool(found)

    def _spread_loose(self, tensor: Tensor, shape: torch.Size) -> list[Tensor]:
        return [loose[(None,) * (len(shape) - loose.dim())].expand(shape) for loose in self.value(tensor).loose]

    def follow(self, tensor: Tensor, dim: int, labels: Tensor | None) -> Tensor | None:
        """The labels along a dimension; where there are none, and the value only repeats itself along it, the
        ``labels`` it meets, to which it is tied then."""
        own = self.axis(tensor, dim)
        if own is not None or labels is None:
            return own
        layer = along(labels, dim % tensor.dim(), tensor.shape)
        return labels if self._follows(tensor, tensor.shape, dim % tensor.dim(), layer) else None

    def loosen(self, tensor: Tensor, loose: Iterable[Tensor]) -> None:
        """Notes where a value only repeats itself, except for where it holds channels."""
        value, loose = self.value(tensor), list(loose)
        held = {d for layer in value.layers for d in signature(layer)} if loose else set()
        value.loose = [layer for layer in loose if signature(layer) and not held & set(signature(layer))]
        if value.loose:
            self._remember(tensor, value)

    def loose_in(self, shape: torch.Size, tensors: list[Tensor]) -> list[Tensor]:
        """Where an elementwise result of ``shape`` only repeats itself: where all of ``tensors`` do, or have one
        entry."""
        found: list[Tensor] = []
        for tensor in tensors:
            for layer in self._spread_loose(tensor, shape):
                others = [self._repeats(other, shape, d) for other in tensors for d in signature(layer)]
                if all(others):
                    found.append(layer)
        return matched(self.ledger, found)

    def _repeats(self, tensor: Tensor, shape: torch.Size, dim: int) -> bool:
        own = dim - (len(shape) - tensor.dim())
        if own < 0 or tensor.size(own) == 1:
            return True
        return any(dim in signature(loose) for loose in self._spread_loose(tensor, shape))

    def read(self, labels: Tensor | None) -> None:
        """Notes that a product reads its input channels through the parameter dimension that owns ``labels``."""
        if labels is not None:
            self.reads.append(labels)

    def owners_of(self, labels: Tensor) -> list[tuple[str, int]]:
        """The (tensor, dimension) pairs that own these labels."""
        return [place for label in labels.tolist() for place in self._places.get(label, ())]

    def ownerless(self, labels: Tensor) -> bool:
        """Whether none of these labels is one of a parameter or buffer, whatever they are tied to."""
        return bool((labels >= self._owned).all())

    def side(self, tensor: Tensor, dim: int) -> Side:
        """The side of a product that counts the indices of a dimension, whatever their labels; ties nothing."""
        return tensor, dim, rows(self.value(tensor).layers, dim)

    def multiply(self, name: str | None, factor: float, *sides: Side) -> None:
        """Notes the multiply-accumulates of a product; a side is (tensor, dimension, its labels or None), for
        which :meth:`side` finds those that were not asked for."""
        self.multiplied += [labels for _, _, labels in sides if labels is not None]
        sizes = tuple(tensor.size(dim) if labels is None else labels for tensor, dim, labels in sides)
        self.multiplications.append(Multiplication(name or "(no parameter)", factor, sizes, self.path, self._alone))

    def remember(self, rule: SizeRule) -> None:
        """Notes what a number that a module remembers counts."""
        if not any((other.path, other.target) == (rule.path, rule.target) for other in self.sizes):
            self.sizes.append(rule)

    def over_open(self, tensor: Tensor, dims: Iterable[int]) -> Tensor | None:
        """Notes that the function of torch that runs takes its mean over those channels of ``dims`` that are open;
        their labels, (channels,). None where it cannot be told to: then they are to be frozen."""
        within = {d % tensor.dim() for d in dims} if tensor.dim() else set()
        alone = [x for x in self.value(tensor).layers if signature(x) and within.issuperset(signature(x))]
        along_dims = {signature(layer) for layer in alone}
        call = self._recorder.norm if self.opens and self._recorder is not None else None
        if call is None or len(along_dims) != 1 or len(dim := along_dims.pop()) != 1:
            return None
        labels = core(alone[0], dim)
        for layer in alone[1:]:
            self.ledger.tie(core(layer, dim), labels)
        call = call._replace(dim=dim[0] - tensor.dim())
        known = self.norms.get(call, labels)
        if known.shape != labels.shape:
            self.ledger.freeze(known, "a norm runs over other channels elsewhere")
            return None
        self.ledger.tie(known, labels)
        self.norms[call] = labels
        return labels

    def part(self, layer: Tensor) -> None:
        """Notes a piece of a channel dimension (of a split or slice) that must keep at least one channel."""
        self.parts.append(layer)

    def _remember(self, tensor: Tensor, value: Value) -> None:
        self._values[tensor] = value


def _is_mutable(step: Call) -> bool:
    schema = getattr(step.func, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _widths(network: nn.Module) -> set[int]:
    """How many channels the layers of a network make and read, and the states of recurrent ones have."""
    found = {size for p in network.parameters() if p.dim() > 1 for size in p.shape[:2]}
    for module in network.modules():
        if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            found |= {module.hidden_size, getattr(module, "proj_size", 0)}
    return {size for size in found if size > 1}


def traced(network: nn.Module, inputs: Inputs, rules: Mapping[str, Rule], *, opens: bool = False) -> Trace:
    """Labels of a whole network: one pass in eval mode and, if that leaves parameters (auxiliary classifiers) or
    buffers (a moving average of each channel) unused, one in training mode. Both run on copies, so that nothing a
    forward pass leaves behind stays in the network; the network itself is in eval mode too, for the sake of a copy that
    still calls into it.

    Raises:
        UserError: as :func:`check_changeable`.
    """
    check_changeable(network)
    with undisturbed(inputs), evaluating(network):
        twin = copied(network)
        twin.train()
        twin.eval()  # modules that cache tensors drop them on a change of mode
        trace = Trace(twin, batch_size(inputs), rules, opens=opens)
        trace.run(twin, cloned(inputs))
        parameters = {name for name, _ in network.named_parameters()}
        if any(name in parameters or any(own is not None for own in trace.owners[name]) for name in trace.unused()):
            _trace_training(trace, network, inputs)
    for name in trace.unused():
        for labels in trace.owners[name]:
            trace.ledger.freeze(labels, "the forward pass does not use it")
    return trace


def _trace_training(trace: Trace, network: nn.Module, inputs: Inputs) -> None:
    twin = copied(network).train()
    # costs and branches are those of the eval pass
    counted, operations, calls_of = list(trace.multiplications), list(trace.operations), trace.calls_of.copy()
    uncounted, results_of = trace.uncounted.copy(), dict(trace.results_of)
    trace.adopt(twin)
    trace.notes_operations = False
    inputs = cloned(inputs)
    if trace.batch == 1:  # batch norm over one position refuses a single example
        inputs = at_batch(inputs, 2)
    unused = trace.unused()
    try:
        trace.run(twin, inputs)
    except Exception as error:  # whatever the user's forward raises
        if lacks_memory(error):
            raise
        warnings.warn(
            f"the network does not run in training mode on the example inputs ({error}): what only training uses stays "
            "whole, and may not fit a smaller network; pass inputs as large as those of training.",
            stacklevel=2,
        )
        for name in set(unused) - set(trace.unused()):  # half traced, what they read stays too
            for labels in trace.owners[name]:
                trace.ledger.freeze(labels, "training fails on the example inputs")
    trace.notes_operations = True
    trace.multiplications, trace.operations, trace.calls_of = counted, operations, calls_of
    trace.uncounted, trace.results_of = uncounted, results_of
