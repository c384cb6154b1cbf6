"""Peak activation memory: the bytes of live tensors at the worst moment of a forward pass.

Counted are the network's inputs (their holder keeps them) and every storage that an operation of the pass makes,
from that operation to the last one during which anybody still holds it; views share their base's storage. NOT counted:
parameters, buffers and constants of the network, and the workspace that a kernel takes and gives back.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from dnal.base.errors import UserError, lacks_memory
from dnal.space.branches import Branch
from dnal.space.cost import Cost, CostFunction
from dnal.space.operations import Operand, Operation
from dnal.space.retrace import operations_on
from dnal.space.space import Space
from dnal.space.surgery.bake import baked
from dnal.space.surgery.inputs import Inputs, at_batch, batch_size, cloned
from dnal.space.surgery.running import call, copied, evaluating, undisturbed
from dnal.space.surgery.tensors import held_tensors, tensors_of

REMEDY = "state the budget without a bound on memory"
FLEETING = "detach"
"""It makes no storage, and torch adds it to a new tensor that something else holds: that depends on what watches."""


def memory_cost(network: nn.Module, space: Space, example_inputs: Inputs, batch: int) -> CostFunction:
    """Bytes of live activations at the worst moment of the forward pass on ``batch`` examples, as a function of gates.

    A storage costs its bytes times, for each of its dimensions, the share of the gates that are open; the cost is the
    largest sum over what lives together, so that its gradient is that of the worst moment. For channel variables it is
    exact at gates of 0 and 1, save where a dimension of size one lets torch skip a copy that it makes here: then it is
    an upper bound. With closed branches it is one too: what only they touch counts nothing, anything else lives as
    long as in the whole network.

    Args:
        network: the one that ``space`` was made of; it is run once, as a copy.
        example_inputs: as for ``Space.of``; repeated or cut along dimension 0 to ``batch`` examples.

    Raises:
        UserError: if the network does not run on such a batch, or runs other operations than when its Space was found.
    """
    inputs = at_batch(example_inputs, batch)
    if space.baked:
        network = baked(network, space.baked)
    storages, names, held = _observed(network, inputs)
    operations = _lasting(space.operations)
    if names != [operation.name for operation in operations]:  # one example is viewed where several are copied
        operations = _lasting(operations_on(network, space, at_batch(example_inputs, min(batch, 2))))
    if names != [operation.name for operation in operations]:
        raise _other_operations(operations, names)
    removers = [[b for b in space.branches if b.removes(operation.path)] for operation in operations]
    products: dict[tuple[tuple[int, ...], ...], int] = {(): 0}
    columns, sizes = [], []
    for storage in storages:
        sides = [ids for ids in _sides(operations[storage.made].outputs, storage.output) if ids is not None]
        sizes.append(storage.size / math.prod(ids.numel() for ids in sides))
        sides += [torch.tensor([b.variable]) for b in removers[storage.made] if _private(b, storage, removers)]
        columns.append(products.setdefault(tuple(tuple(ids.tolist()) for ids in sides), len(products)))
    moments = torch.zeros(len(names) + 1, len(products), dtype=torch.float64)
    moments[:, 0] = held
    for column, size, storage in zip(columns, sizes, storages, strict=True):
        moments[storage.made : storage.last + 1, column] += size
    absent = torch.zeros(len(names) + 1, len(space.branches), dtype=torch.float64)
    for moment, gone in enumerate(removers):  # below zero: a moment with fewer conditions may dominate
        absent[moment, [space.branches.index(b) for b in gone]] = -1
    rows = _undominated(torch.cat((moments, absent), dim=1))
    moments, absent = rows[:, : len(products)], rows[:, len(products) :]
    happens = [[[space.branches[b].variable] for b in row.nonzero().squeeze(1).tolist()] for row in absent]
    return _Peak(moments, _products(products), _products(happens))


def peak_memory(network: nn.Module, example_inputs: Inputs) -> int:
    """Bytes of live activations at the worst moment of one forward pass in eval mode, on the inputs as they are.

    Counts the tensors of any network as they come and go; knows nothing of a Space.
    """
    with undisturbed(example_inputs), evaluating(network):
        twin, inputs = copied(network), cloned(example_inputs)
        counter = _LiveBytes(_bytes_of(inputs))
        with counter:
            call(twin, inputs)
    return counter.peak


class _Peak:
    """The largest of sums of products of gate sums.

    Args:
        moments: (moments, products) bytes per unit of each product.
        products: the products.
        happens: per moment, the product of the gates of the branches without which it does not come.
    """

    def __init__(self, moments: Tensor, products: Cost, happens: Cost) -> None:
        self._moments = moments
        self._products = products
        self._happens = happens

    def __call__(self, gates: Tensor) -> Tensor:
        if self._moments.device != gates.device:  # the gates decide where the arithmetic happens
            self._moments = self._moments.to(gates.device)
        return (self._happens.terms(gates) * (self._moments @ self._products.terms(gates))).amax()


def _products(all_sides: Iterable[Sequence[Sequence[int]]]) -> Cost:
    return Cost([(1.0, [torch.tensor(ids) for ids in sides]) for sides in all_sides])


def _undominated(moments: Tensor) -> Tensor:
    """The rows that another one does not reach in every column: only they can be the worst."""
    rows: Tensor = moments.unique(dim=0)
    reached = torch.stack([(rows >= row).all(1).sum() for row in rows])
    return rows[reached == 1]


def _private(branch: Branch, storage: _Storage, removers: Sequence[Sequence[Branch]]) -> bool:
    """Whether only what goes with the branch touches a storage. Its result is not private: there will be zeros in its
    place, or the block's input lives on."""
    return all(branch in removers[i] for i in storage.touched)


def _lasting(operations: Sequence[Operation]) -> list[Operation]:
    return [operation for operation in operations if operation.name != FLEETING]


def _sides(outputs: Sequence[Operand], position: int) -> Sequence[Tensor | None]:
    """The variables of an output's dimensions. Statistics and indices beside the first output have none of their own:
    they have its first dimensions, or its channels alone; group normalisation counts groups of channels."""
    first, own = outputs[0], outputs[position]
    if position == 0 or any(ids is not None for ids in own.sides) or len(own.shape) > len(first.shape):
        return own.sides
    sides: list[Tensor | None] = []
    for size, ids in zip(own.shape, first.sides[len(own.shape) == 1 :], strict=False):
        grouped = ids is not None and size > 0 and ids.numel() % size == 0
        rows = ids.view(size, -1) if ids is not None and grouped else None
        sides.append(rows[:, 0] if rows is not None and bool((rows == rows[:, :1]).all()) else None)
    return sides


@dataclass(slots=True)
class _Storage:
    """A storage of the forward pass: ``made`` by which operation as which of its outputs, its ``size`` in
    bytes, ``touched``: the operations that take or return a tensor in it, the ``last`` one during which it lives."""

    made: int
    output: int
    size: int
    alive: StorageWeakRef
    last: int = -1
    touched: list[int] = field(default_factory=list)


class _Lifetimes(TorchDispatchMode):
    """Notes which operations make storages and when these are gone; holds none of them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self.storages: list[_Storage] = []
        self._living: dict[int, _Storage] = {}  # by address, which a weak reference keeps from being given away

    def bury(self) -> None:
        """What is gone now was last alive during the latest operation."""
        for address, storage in list(self._living.items()):
            if storage.alive.expired():
                storage.last = len(self.names) - 1
                del self._living[address]

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.bury()
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name == FLEETING:
            return out
        given = {_address(t) for t in tensors_of((args, kwargs))}
        for position, tensor in enumerate(tensors_of(out)):
            address = _address(tensor)
            if address not in given and address not in self._living and tensor.untyped_storage().nbytes():
                storage = tensor.untyped_storage()
                self._living[address] = _Storage(len(self.names), position, storage.nbytes(), StorageWeakRef(storage))
                self.storages.append(self._living[address])
            given.add(address)
        for address in given & self._living.keys():
            self._living[address].touched.append(len(self.names))
        self.names.append(name.rstrip("_") if not name.startswith("__") else name)
        return out


class _LiveBytes(TorchDispatchMode):
    """A running count of the bytes that operations have allocated and that are not freed yet."""

    def __init__(self, held: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = held

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {_address(t) for t in tensors_of((args, kwargs))}
        made = {_address(t): t.untyped_storage() for t in tensors_of(out) if _address(t) not in given}
        for storage in made.values():
            self._now += storage.nbytes()
            weakref.finalize(storage, self._drop, storage.nbytes()).atexit = False
        self.peak = max(self.peak, self._now)
        return out

    def _drop(self, size: int) -> None:
        self._now -= size


def _observed(network: nn.Module, inputs: Inputs) -> tuple[list[_Storage], list[str], int]:
    """The storages of one forward pass, the names of its operations, and the bytes of its inputs."""
    with undisturbed(inputs), evaluating(network):
        twin = copied(network)
        twin.train()
        twin.eval()  # modules that cache tensors drop them on a change of mode
        inputs = cloned(inputs)
        seen = _Lifetimes()
        try:
            with seen:
                out = call(twin, inputs)
            seen.bury()
        except Exception as error:  # whatever the user's forward raises
            if lacks_memory(error):
                raise
            raise UserError(
                f"memory cannot be stated for this network: it does not run on a batch of {batch_size(inputs)} "
                f"({error}); {REMEDY}."
            ) from error
    for storage in seen.storages:
        storage.last = storage.last if storage.last >= 0 else len(seen.names) - 1
    del out  # until here its holder keeps it
    return seen.storages, seen.names, _bytes_of(inputs)


def _other_operations(expected: Sequence[Operation], names: Sequence[str]) -> UserError:
    pairs = [(i, o.name, name) for i, (o, name) in enumerate(zip(expected, names, strict=False)) if o.name != name]
    where = f"'{pairs[0][2]}' in the place of '{pairs[0][1]}'" if pairs else f"{len(names)}, not {len(expected)}"
    return UserError(
        "memory cannot be stated for this network: at this batch its forward pass runs other operations than when its "
        f"space was found ({where}); {REMEDY}."
    )


def _bytes_of(inputs: Inputs) -> int:
    return sum({_address(t): t.untyped_storage().nbytes() for t in held_tensors(inputs)}.values())


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
