"""A variable's name is its smallest (parameter, dimension, index), whatever the order of the trace."""

import pytest
import torch

import dnal
from networks import EXAMPLES, Net, conv, image


@pytest.mark.parametrize("name", ["residual sums tie", "squeeze-excite", "tied weights", "narrow groups leave whole"])
def test_names_are_the_smallest_place(name: str) -> None:
    build, variables, inputs = EXAMPLES[name]
    space = dnal.Space.of(build(), inputs())
    places: dict[int, list[tuple[str, int, int]]] = {}
    for parameter, dims in {**space.sources, **space.buffer_sources}.items():
        for dim, ids in enumerate(dims):
            for index, variable in enumerate([] if ids is None else ids.tolist()):
                places.setdefault(variable, []).append((parameter, dim, index))
    assert space.names == [min(places[v]) for v in range(variables)]
    assert space.names == sorted(space.names)


def test_numbering_does_not_depend_on_the_order_of_the_trace() -> None:
    def members() -> dict[str, torch.nn.Module]:
        return {"a": conv(3, 5), "b": conv(3, 7), "last_a": conv(5, 4), "last_b": conv(7, 4)}

    def forwards(n: Net, x: torch.Tensor) -> torch.Tensor:
        one = n.last_a(n.a(x).relu())
        return one + n.last_b(n.b(x).relu())

    def backwards(n: Net, x: torch.Tensor) -> torch.Tensor:
        two = n.last_b(n.b(x).relu())
        return two + n.last_a(n.a(x).relu())

    first, second = (dnal.Space.of(Net(compute, **members()), image()) for compute in (forwards, backwards))
    assert first.names == second.names
    for parameter, dims in first.sources.items():
        for one, other in zip(dims, second.sources[parameter], strict=True):
            assert (one is None and other is None) or torch.equal(one, other)
    assert [g.name for g in first.groups] == [g.name for g in second.groups]


def test_every_variable_is_in_exactly_one_group() -> None:
    for name in ("concatenation keeps parts apart", "squeeze-excite", "residual sums tie"):
        build, variables, inputs = EXAMPLES[name]
        space = dnal.Space.of(build(), inputs())
        assert torch.cat([g.variables for g in space.groups]).sort().values.tolist() == list(range(variables))
        assert all(g.width == len(g.variables) and g.places for g in space.groups)
