"""The benchmark of networks as people have them: its list names networks that are built, and each of its checks says no
to a fault of its kind."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dnal
from benchmark_script import FOLDER, script

checks = script("coverage_people_checks")
runner = script("coverage_people")
people = importlib.import_module("people")

ALONE = ("people.small_ones", "people.recurrent", "people.restoration", "people.audio", "people.torchvision_timm")
"""Files of networks that need no package beside those of dnal itself."""


def built_by(rooms: Any) -> set[str]:
    return {name for room in rooms for name in importlib.import_module(room).NETWORKS}


def test_the_list_has_sixty_networks_once_each_and_builders_for_them() -> None:
    names = runner.listed(FOLDER / "coverage_people.txt")
    assert len(set(names)) == len(names) >= 60
    assert {name.partition("/")[0] for name in names} == set(people.ROOMS)
    assert built_by(ALONE) == {name for name in names if people.ROOMS[name.partition("/")[0]] in ALONE}


@pytest.mark.slow
def test_the_list_is_all_that_can_be_built() -> None:
    for package in ("transformers", "diffusers", "segmentation_models_pytorch", "einops"):
        pytest.importorskip(package)
    assert built_by(set(people.ROOMS.values())) == set(runner.listed(FOLDER / "coverage_people.txt"))


def test_the_runner_and_the_checks_name_the_same_columns() -> None:
    assert tuple(checks.CHECKS) == runner.CHECKS
    assert set(runner.CHECKS) <= set(runner.FIELDS)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 12, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Body(nn.Module):
    """Two residual branches, so that every check has something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 4, 1)
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


def row_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the checks find, in this process."""
    case = importlib.import_module("people.case")
    torch.manual_seed(0)
    checks.run(case.Case(Body(), case.images(), (16, 24)), "pt2")
    return script("coverage_process").emitted(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_a_network_of_which_all_holds(capsys: pytest.CaptureFixture[str]) -> None:
    row = row_of(capsys)
    assert row["status"] == "all hold", row["reason"]
    assert [row[check] for check in checks.CHECKS] == [
        "yes", "yes", "equal", "yes", "yes", "yes", "yes", "pt2",
    ]  # fmt: skip
    assert row["branches"] == 2
    assert row["macs_told_whole"] == row["macs_by_torch_whole"]
    assert row["macs_told_whole"] > row["macs_told_compact"] == row["macs_by_torch_compact"]


class HalfSeen(torch.autograd.Function):
    """The same numbers with half of their gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 0.5 * grad


def moved(small: nn.Module, *_: Any) -> nn.Module:
    """As if a tensor had been sliced elsewhere."""
    with torch.no_grad():
        small.head.weight.copy_(small.head.weight.flip(1))  # type: ignore[union-attr, operator]
    return small


def moved_without_branches(small: nn.Module, _: nn.Module, chosen: dnal.Architecture) -> nn.Module:
    return moved(small) if chosen.kept.bypasses else small


def rounds(space: dnal.Space, network: Any, *_: Any, **__: Any) -> dnal.Space:
    """As if a compact network had nothing left that varies."""
    whole = network.stem.out_channels == 12
    return space if whole else dnal.Space.of(Body(), torch.randn(2, 3, 16, 16), include="head")


FAULTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "exact": (dnal, "compact", moved),
    "macs": (dnal, "macs", lambda told, *_: told + 1),
    "training_step": (dnal.Gated, "gates", lambda gates, _: HalfSeen.apply(gates)),
    "second_round": (dnal.Space, "of", rounds),
    "without_branches": (dnal, "compact", moved_without_branches),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_each_kind_is_found(
    fault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner, name, wrong = FAULTS[fault]
    right = getattr(owner, name)

    def faulty(*args: Any, **kwargs: Any) -> Any:
        with monkeypatch.context() as inner:  # the fault does not meet itself
            inner.setattr(owner, name, staticmethod(right) if name == "of" else right)
            return wrong(right(*args, **kwargs), *args, **kwargs)

    monkeypatch.setattr(owner, name, staticmethod(faulty) if name == "of" else faulty)
    others = {check: function for check, function in checks.CHECKS.items() if check not in ("exact", fault)}
    for check in others:
        monkeypatch.delitem(checks.CHECKS, check)
    row = row_of(capsys)
    assert row[fault] == "no", row
    assert row["status"] == "fails"
    assert row["reason"].startswith(fault)


def test_a_process_that_ends_early_leaves_what_it_found() -> None:
    process = script("coverage_process")

    def crashes() -> None:
        process.emit(stage="building", parameters=7)
        raise MemoryError("cannot allocate")

    found = process.forked(crashes, 9)
    assert (found["parameters"], found["status"]) == (7, "oom")
    assert "cannot allocate" in found["reason"]


def test_a_process_that_lasts_too_long_is_a_row() -> None:
    process = script("coverage_process")

    def endless() -> None:
        import resource

        process.emit(stage="analysis")
        resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
        while True:
            pass

    assert process.forked(endless, 1)["reason"] == "longer than 1 s in its stage 'analysis'"


class Ranked(nn.Module):
    """The ranks of sums of three numbers, added up in one of two orders."""

    def __init__(self, backwards: bool) -> None:
        super().__init__()
        self.backwards = backwards

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = x.unbind(1)
        return (a + (b + c) if self.backwards else (a + b) + c).argsort()


def test_what_selects_is_compared_where_rounding_selects_nothing_else() -> None:
    rows = torch.randn(20000, 3, generator=torch.Generator().manual_seed(0))
    one, other = Ranked(False), Ranked(True)
    for selects, expected in ((False, float("inf")), (True, 0.0)):
        case = importlib.import_module("people.case").Case(one, lambda n, s: rows, (1,), selects=selects)
        subject = checks.Subject(case, one, None, None, "pt2")
        assert checks._apart(subject, one, other, rows) == expected


def test_the_detector_with_small_weights_tells_images_apart() -> None:
    """At its first statistics all images have the same scores up to rounding, and no wrong removal would show."""
    case = people.case("torchvision/ssdlite320_mobilenet_v3")
    found: list[Tensor] = []
    case.network.head.register_forward_hook(lambda module, given, out: found.append(out["cls_logits"]))
    with torch.no_grad():
        case.network.eval()(*case.inputs(2, 320))
    first, second = found[0]
    assert float((first - second).abs().mean()) > 0.1
    assert first.unique().numel() > 0.99 * first.numel()
