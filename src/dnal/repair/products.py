"""Where a network reads: the products that ran with the weight of a reader, seen while the network computes.

The Space says which tensors read channels and along which dimension. Which operation of torch does it, in whatever
code, is seen beneath autograd: an operand that lies in the memory of such a tensor. The other operand are the channels
as they are read, and in the backward pass the gradients of what was made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dnal.space.roles import Place


class View(NamedTuple):
    """A part of a tensor's memory: from ``offset`` on, in numbers behind the tensor's first."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def of(self, tensor: Tensor) -> Tensor:
        """That part of ``tensor``, which shares its memory."""
        return tensor.as_strided(self.size, self.stride, tensor.storage_offset() + self.offset)


@dataclass(frozen=True)
class Product:
    """A product with a reader's weight.

    Attributes:
        place: the parameter and the dimension along which it reads.
        weight: the part of the parameter that is multiplied: of a convolution all of it, else (columns, rows).
        first: the index along the dimension of the first column.
        groups: of a convolution; 0 for a product of matrices.
        transposed: of a convolution.
    """

    place: Place
    weight: View
    first: int
    groups: int
    transposed: bool

    def matrix(self, tensor: Tensor) -> Tensor:
        """The weights in the parameter ``tensor`` as (groups, rows, columns, kernel positions); a copy where it must
        be one."""
        part = self.weight.of(tensor)
        if not self.groups:
            return part.t()[None, :, :, None]
        if self.transposed:
            part = part.transpose(0, 1)
        outputs, columns = part.shape[:2]
        return part.reshape(self.groups, outputs // self.groups, columns, -1)

    def put(self, tensor: Tensor, matrix: Tensor) -> None:
        """Writes such weights into the parameter ``tensor``."""
        part = self.weight.of(tensor)
        if not self.groups:
            part.copy_(matrix[0, :, :, 0].t())
            return
        if self.transposed:
            part = part.transpose(0, 1)
        part.copy_(matrix.reshape(part.shape))


class Constant(NamedTuple):
    """Where the mean of what a product makes can be corrected: a tensor by name, its part, and the sign."""

    name: str
    part: View
    sign: int


Seen = Callable[[Product, Tensor], None]
"""Told of a product and its other operand: the channels, (groups, examples, positions, columns), or the gradients,
(..., rows), of all examples and positions."""


class Watch(TorchDispatchMode):
    """Sees the products of readers while a network runs.

    Args:
        places: those that read. read: told of the channels. written: told of the gradients of what was made of them.

    Attributes:
        examples: of the batch. backward: whether the backward pass is under way.
        constants: of the products whose mean can be corrected, found while ``follow`` is true, which holds all that
            they make in memory until :meth:`forget`.
    """

    def __init__(self, network: nn.Module, places: Iterable[Place], read: Seen, written: Seen) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.backward, self.follow, self.examples = False, True, 1
        self.constants: dict[Product, Constant] = {}
        self._read, self._written = read, written
        self._named = tensors_of(network)
        self._at: dict[int, list[str]] = {}
        for name, tensor in self._named.items():
            self._at.setdefault(tensor.untyped_storage().data_ptr(), []).append(name)
        self._dims: dict[str, list[int]] = {}
        for name, dim in places:
            self._dims.setdefault(name, []).append(dim)
        self._made: dict[int, tuple[Product, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        if self._made and not func.is_view and name != "_unsafe_view":
            self._used(name, args)
        if name in _HANDLED:
            _HANDLED[name](self, args, out)
        return out

    def forget(self) -> None:
        """Lets go of what the products made."""
        self._made.clear()

    def _name(self, tensor: Any) -> str | None:
        """The parameter or buffer in whose memory a tensor lies."""
        if not isinstance(tensor, Tensor):
            return None
        for name in self._at.get(tensor.untyped_storage().data_ptr(), ()):
            own = self._named[name]
            if 0 <= tensor.storage_offset() - own.storage_offset() < own.numel():
                return name
        return None

    def _part(self, name: str, tensor: Tensor) -> View:
        offset = int(tensor.storage_offset() - self._named[name].storage_offset())
        return View(tuple(tensor.shape), tuple(tensor.stride()), offset)

    def _convolved(self, args: Any, out: Tensor) -> None:
        source, weight, bias = args[:3]
        found = self._convolution(weight, bool(args[6]), int(args[8]))
        if found is None or self.backward:
            return
        product = found
        channels = source.flatten(2).transpose(1, 2)  # (N, positions, channels)
        self._read(product, channels.unflatten(2, (product.groups, -1)).permute(2, 0, 1, 3))
        self._follow(product, out, bias)

    def _convolved_back(self, args: Any, out: Any) -> None:
        found = self._convolution(args[2], bool(args[7]), int(args[9]))
        if found is not None and self.backward:
            self._written(found, args[0].movedim(1, -1))

    def _convolution(self, weight: Tensor, transposed: bool, groups: int) -> Product | None:
        name, dim = self._name(weight), 0 if transposed else 1
        if name is None or dim not in self._dims.get(name, ()) or (transposed and groups > 1):
            return None
        part, own = self._part(name, weight), self._named[name]
        if part.size != tuple(own.shape) or part.stride != tuple(own.stride()):
            return None
        return Product((name, dim), part, 0, groups, transposed)

    def _multiplied(self, args: Any, out: Tensor) -> None:
        left, right = args[-2:]
        added = args[0] if len(args) == 3 else None
        for weight, other, axis in ((right, left, 0), (left, right.transpose(-2, -1), 1)):
            if weight.dim() == 3:
                if weight.size(0) > 1 and weight.stride(0) != 0:
                    continue
                weight = weight[0]
            name = self._name(weight)
            for dim in self._dims.get(name, ()) if name is not None else ():
                assert name is not None
                inner, outer = self._along(name, dim, weight, axis), self._along(name, dim, weight, 1 - axis)
                if inner and not self.backward:
                    product = self._matrix(name, dim, weight if axis == 0 else weight.t())
                    rows = other.reshape(-1, other.size(-1))
                    spread = rows.unflatten(0, (self.examples, -1)) if rows.size(0) % self.examples == 0 else rows[None]
                    self._read(product, spread[None])
                    self._follow(product, out if axis == 0 else out.transpose(-2, -1), added)
                elif outer and self.backward:
                    self._written(self._matrix(name, dim, weight.t() if axis == 0 else weight), other)

    def _along(self, name: str, dim: int, weight: Tensor, axis: int) -> bool:
        """Whether an axis of a part of the tensor ``name`` runs along one of its dimensions."""
        own = self._named[name]
        return 1 < weight.size(axis) <= own.size(dim) and weight.stride(axis) == own.stride(dim)

    def _matrix(self, name: str, dim: int, weight: Tensor) -> Product:
        """``weight``: (columns, rows)."""
        part, own = self._part(name, weight), self._named[name]
        left, first = part.offset, 0
        for each in sorted(range(own.dim()), key=own.stride, reverse=True):
            index, left = divmod(left, own.stride(each)) if own.size(each) > 1 else (0, left)
            first = index if each == dim else first
        return Product((name, dim), part, first, 0, False)

    # The mean of what a product makes is corrected in its bias, which it is given or which is added next, or in the
    # running mean of a batch norm behind it, where nothing else takes what it makes.

    def _follow(self, product: Product, out: Tensor, bias: Any) -> None:
        if not self.follow:
            return
        name = self._name(bias)
        if name is not None and bias.dim() == 1:
            self.constants[product] = Constant(name, self._part(name, bias), 1)
        elif bias is None:
            self._made[out.untyped_storage().data_ptr()] = (product, out)

    def _used(self, name: str, args: Any) -> None:
        """What an operation takes of what the products made."""
        for number, tensor in enumerate(tree_leaves(args)):
            place = tensor.untyped_storage().data_ptr() if isinstance(tensor, Tensor) else None
            if place not in self._made:
                continue
            product, made = self._made[place]
            constant = None
            if product in self.constants:  # which another one than the first would not see
                del self.constants[product]
            elif number == 0 and "batch_norm" in name:
                constant = self._norm(product, made, tensor, args[3])
            elif name in ("add", "add_"):
                constant = self._bias(product, made, tensor, args[1 - number])
            if constant is None:
                del self._made[place]
            else:
                self.constants[product] = constant

    def _norm(self, product: Product, made: Tensor, tensor: Tensor, mean: Any) -> Constant | None:
        name = self._name(mean)
        rows = made.size(1) if product.groups else made.size(-1)
        channels = tensor.shape == made.shape if product.groups else tensor.stride(1) == made.stride(-1)
        if name is None or not channels or tensor.size(1) != rows:
            return None
        return Constant(name, self._part(name, mean), -1)

    def _bias(self, product: Product, made: Tensor, tensor: Tensor, bias: Any) -> Constant | None:
        name = self._name(bias)
        if name is None or bias.dim() != 1 or product.groups or tensor.stride(-1) != made.stride(-1):
            return None
        return Constant(name, self._part(name, bias), 1) if tensor.size(-1) == bias.numel() == made.size(-1) else None


_HANDLED: dict[str, Callable[[Watch, Any, Any], None]] = {
    "convolution": Watch._convolved,
    "convolution_backward": Watch._convolved_back,
    "mm": Watch._multiplied,
    "addmm": Watch._multiplied,
    "bmm": Watch._multiplied,
}


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name; one that has two names once."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}
