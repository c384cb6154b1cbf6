"""Operations whose result jumps: sorting, the largest few, non-maximum suppression, thresholds.

Two networks that compute the same up to rounding may choose differently here, and all that follows differs with it. So
they are compared at what they choose from; then the second one makes the choices of the first, and what follows is
compared as everything is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from dnal.space.surgery.tensors import tensors_of

TOLERANCE = 1e-4
"""Largest allowed difference, relative to the largest number."""

SELECTIONS = {
    "topk", "sort", "argsort", "argmax", "argmin", "max", "min", "kthvalue", "median", "mode", "cummax", "cummin",
    "nonzero", "nms", "unique_consecutive", "_unique2", "unique_dim", "searchsorted", "bucketize", "multinomial",
    "gt", "ge", "lt", "le", "eq", "ne", "floor", "ceil", "round", "trunc", "_to_copy",
}  # fmt: skip


class Selection(NamedTuple):
    """A choice that was made: by which operation, from which tensors, with which result."""

    name: str
    given: list[Tensor]
    out: Any


def close(reference: Tensor, result: Tensor) -> bool:
    """max|difference| <= 1e-4 * max|reference|, for equal shapes; infinities are where they were, and NaN is never
    close. Half precision: 8 units in the last place."""
    if reference.shape != result.shape:
        return False
    if not reference.is_floating_point():
        return bool(torch.equal(reference, result))
    tolerance = max(TOLERANCE, 8 * torch.finfo(reference.dtype).eps)  # coarse only where the network insists on it
    finite = torch.where(reference.isfinite(), reference.abs(), 0)
    bound = tolerance * finite.amax() if reference.numel() else reference.new_zeros(())
    return bool(((reference == result) | ((reference - result).abs() <= bound)).all())


def all_close(references: list[Tensor], results: list[Tensor]) -> bool:
    """Whether as many outputs are close, one by one."""
    return len(references) == len(results) and all(close(a, b) for a, b in zip(references, results, strict=True))


class Recorded(TorchDispatchMode):
    """Notes the selections of a forward pass."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.selections: list[Selection] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        selects = _selects(func, args, kwargs)
        given = _copied(tensors_of((args, kwargs))) if selects else []
        out = func(*args, **kwargs)
        if selects:
            self.selections.append(Selection(func.overloadpacket.__name__, given, _copied(out)))
        return out


class Repeated(TorchDispatchMode):
    """Makes the selections of another forward pass where they are made from the same numbers; ``same`` turns false
    where they are not, or where others are made. Those among channels, of which there are less here, stay its own."""

    def __init__(self, selections: list[Selection]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.same = True
        self._selections = iter(selections)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.same or not _selects(func, args, kwargs):
            return func(*args, **kwargs)
        made = next(self._selections, None)
        given = tensors_of((args, kwargs))
        self.same = made is not None and made.name == func.overloadpacket.__name__
        if made is None or not self.same or [x.shape for x in given] != [x.shape for x in made.given]:
            return func(*args, **kwargs)
        self.same = all_close(made.given, given)
        return _copied(made.out)


def repeats(references: list[Tensor], selections: list[Selection], run: Callable[[], list[Tensor]]) -> bool:
    """Whether ``run`` gives the outputs of another network once it makes the selections of that one, which must be
    made from what they were made from there."""
    if not selections:
        return False
    mode = Repeated(selections)
    with mode:
        results = run()
    return mode.same and all_close(references, results)


def _selects(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation chooses by numbers; integers and truth values are the result of a choice before."""
    name = func.overloadpacket.__name__
    if name not in SELECTIONS:
        return False
    dtype = kwargs.get("dtype")
    if name == "_to_copy" and (dtype is None or dtype.is_floating_point or dtype.is_complex):
        return False
    return any(tensor.is_floating_point() for tensor in tensors_of((args, kwargs)))


def _copied(tree: Any) -> Any:
    return tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), tree)
