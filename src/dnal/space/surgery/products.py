"""Products that are computed again for the backward pass instead of being kept for it.

A weight or an input times a gate is one multiplication away from what is there anyway. Kept by every layer, such
products would be as large as the weights or more than a tenth of the activations. What a layer keeps is watched only
where it reads such a product: to watch costs time of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.hooks import RemovableHandle


class _Again(NamedTuple):
    """What a product, or a view of it, is computed of."""

    base: Tensor
    version: int
    factors: tuple[Tensor, ...]
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class Products:
    """The products that are in use at the moment, by where they lie in memory.

    Args:
        layers: paths of those whose gated inputs belong to them; None: of all.
    """

    def __init__(self, layers: Collection[str] | None = None) -> None:
        self.layers = layers
        self._known: dict[int, tuple[Tensor, int, tuple[Tensor, ...]]] = {}
        self.readers: set[str] = set()

    def add(self, product: Tensor, base: Tensor, factors: Sequence[Tensor], readers: Iterable[str] = ()) -> None:
        """Notes that ``product`` is ``base`` times ``factors`` in their order. As long as it is known here somebody
        must hold it: another tensor could come to lie in its place.

        Args:
            readers: paths of the modules that compute with it.
        """
        if product.numel() and product.device.type != "meta":
            known = (base.detach(), base._version, tuple(each.detach() for each in factors))
            self._known[product.untyped_storage().data_ptr()] = known
            self.readers.update(readers)

    def forget(self, product: Tensor) -> None:
        """The opposite of :meth:`add`."""
        self._known.pop(product.untyped_storage().data_ptr(), None)

    def not_kept_by(self, layer: nn.Module) -> list[RemovableHandle]:
        """Until the handles go, what ``layer`` computes keeps no known product for its backward pass. Where somebody
        else decides what is kept, as torch.utils.checkpoint does, or nothing may, as in a transformation of torch.func,
        all is as ever."""
        entered: list[saved_tensors_hooks | None] = []

        def before(_: nn.Module, args: tuple[Any, ...]) -> None:
            hooks = saved_tensors_hooks(self._packed, _unpacked) if _nobody_else() else None
            if hooks is not None:
                hooks.__enter__()
            entered.append(hooks)

        def after(_: nn.Module, args: tuple[Any, ...], out: Any) -> None:
            hooks = entered.pop() if entered else None  # none where a hook of another failed before this one
            if hooks is not None:
                hooks.__exit__()

        return [layer.register_forward_pre_hook(before), layer.register_forward_hook(after, always_call=True)]

    def _packed(self, tensor: Tensor) -> Any:
        known = self._known.get(tensor.untyped_storage().data_ptr())
        if known is None or tensor.dtype != known[0].dtype:
            return tensor
        return _Again(*known, tensor.size(), tensor.stride(), int(tensor.storage_offset()))


def _unpacked(kept: Any) -> Tensor:
    if not isinstance(kept, _Again):
        return kept  # type: ignore[no-any-return]
    if kept.base._version != kept.version:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: a weight "
            "or an input that is multiplied by its gates, between the forward and the backward pass"
        )
    with torch.no_grad():
        product = kept.base
        for factor in kept.factors:
            product = product * factor
    return product.as_strided(kept.size, kept.stride, kept.offset)


def _nobody_else() -> bool:
    graph: Any = torch._C._autograd
    try:
        return graph._saved_tensors_hooks_is_enabled() and graph._top_saved_tensors_default_hooks(True) is None
    except (AttributeError, TypeError):  # torch has no public way to ask, and another version may have another one
        return False
