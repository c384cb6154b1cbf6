"""Inputs of another batch and another size: which are offered, and in which order."""

import torch

from dnal.space.surgery.inputs import Inputs, offer_others


def offered(inputs: Inputs, *, taken: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """The shapes that are offered to who takes only ``taken`` as batch and height."""
    shapes: list[tuple[int, ...]] = []

    def takes(other: Inputs) -> bool:
        assert isinstance(other, torch.Tensor)
        shapes.append(tuple(other.shape))
        return (other.size(0), other.size(-1)) == taken

    offer_others(inputs, takes)
    return shapes


def test_both_at_once_are_enough() -> None:
    assert offered(torch.zeros(2, 3, 40, 64), taken=(3, 96)) == [(3, 3, 72, 96)]


def test_else_one_and_then_the_other() -> None:
    images = torch.zeros(2, 3, 64, 64)
    sizes = [(2, 3, 96, 96)]
    assert offered(images, taken=(3, 64)) == [(3, 3, 96, 96), (3, 3, 64, 64), *sizes]
    assert offered(images, taken=(4, 64)) == [(3, 3, 96, 96), (3, 3, 64, 64), (4, 3, 64, 64), *sizes]


def test_a_large_image_gets_smaller() -> None:
    assert offered(torch.zeros(2, 3, 224, 224), taken=(3, 192)) == [(3, 3, 192, 192)]


def test_what_has_one_size_only_gets_another_batch() -> None:
    assert offered(torch.zeros(2, 3, 1, 1)) == [(3, 3, 1, 1), (4, 3, 1, 1)]
    assert offered(torch.zeros(2, 7)) == [(3, 7), (4, 7)]
