"""What is known of tensors is forgotten with them: a forward pass that is watched lets go of what it made."""

import gc
import weakref

import torch
from torch import Tensor, nn

from dnal.space.living import Living
from dnal.space.rules import RULES
from dnal.space.surgery.inputs import cloned
from dnal.space.trace import Trace


def test_what_is_known_goes_with_its_tensor_and_no_other_inherits_it() -> None:
    known: Living[int] = Living()
    kept = torch.zeros(1)
    known[kept] = 0
    for number in range(1, 50):  # memory is used again at once, and ids with it
        tensor = torch.zeros(1)
        assert tensor not in known
        known[tensor] = number
        assert known.get(tensor) == number
        del tensor
    assert known.get(kept) == 0
    known[kept] = 7
    assert known.get(kept) == 7
    assert known.get(torch.zeros(1)) is None
    assert known.get(None) is None


def test_a_tensor_that_only_others_hold_is_still_known() -> None:
    known: Living[str] = Living()
    base = torch.zeros(4, 4)
    known[base] = "base"
    part = base[0]
    del base
    gc.collect()
    assert part._base is not None
    assert known.get(part._base) == "base"


class Watched(nn.Module):
    """Notes which of its results are still there when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(6))
        self.alive: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        made: list[weakref.ref[Tensor]] = []
        for layer in self.layers:
            x = layer(x)
            made.append(weakref.ref(x))
            self.alive.append(sum(one() is not None for one in made))
        return x


def test_a_traced_pass_holds_no_more_results_than_the_plain_one() -> None:
    network, images = Watched().eval(), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        network(images)
        plain, network.alive = network.alive, []
        trace = Trace(network, 2, RULES)
        trace.run(network, cloned(images))
    assert network.alive == plain == [1] * 6
    assert len(trace.multiplications) == 6
