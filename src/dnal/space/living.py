"""What is known of tensors as long as they live: a forward pass makes thousands, and may let go of them as it does
without being watched."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

from torch import Tensor

Known = TypeVar("Known")


class Living(Generic[Known]):
    """Something known of each tensor, by its identity; forgotten with the tensor."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], Known]] = {}
        own = weakref.ref(self)

        def forget(key: int) -> None:
            living = own()
            if living is not None:
                living._known.pop(key, None)

        self._forget = forget

    def get(self, tensor: Tensor | None) -> Known | None:
        found = self._known.get(id(tensor))
        return found[1] if found is not None else None

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._known

    def __setitem__(self, tensor: Tensor, known: Known) -> None:
        key, forget = id(tensor), self._forget
        held = self._known.get(key)
        self._known[key] = held[0] if held is not None else weakref.ref(tensor, lambda _: forget(key)), known
