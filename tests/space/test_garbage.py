"""What an analysis asks of Python's garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from dnal.space.garbage import only_new_garbage


class _Ring:
    def __init__(self) -> None:
        self.self = self


def _garbage() -> weakref.ref[_Ring]:
    """Of a ring that nothing else holds."""
    return weakref.ref(_Ring())


@pytest.fixture(autouse=True)
def _nothing_aside() -> Iterator[None]:
    """Other tests run with all imports set aside."""
    aside = gc.get_freeze_count()
    gc.unfreeze()
    yield
    if aside:
        gc.freeze()


def test_new_garbage_is_collected_within_and_old_garbage_afterwards() -> None:
    gc.collect()
    gc.disable()  # only when asked
    try:
        old = _garbage()
        with only_new_garbage():
            new = _garbage()
            gc.collect()
            assert new() is None
            assert old() is not None
        gc.collect()
        assert old() is None
    finally:
        gc.enable()


def test_nothing_stays_aside_after_an_error() -> None:
    with pytest.raises(RuntimeError), only_new_garbage():
        raise RuntimeError
    assert gc.get_freeze_count() == 0


def test_what_others_have_set_aside_stays_there() -> None:
    gc.freeze()
    try:
        with only_new_garbage():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
