"""What `coverage_people.py` asks of one network, in a process of its own.

Every check compares with something that shares no code with the package: slices of zeros set by indexing, torch's own
counter, gradients of weights that were multiplied by their gates beforehand. What was found is emitted after every
check, so that a process that ends early leaves it behind.
"""

from __future__ import annotations

import copy
import random
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

import coverage_exact as exact
import dnal
import people
from coverage_process import emit, full, limited, peak_mb, told
from coverage_tools import fixed_because
from people.case import Case, Inputs

TRACED = 2
"""Examples in the batch on which the Space is found."""
BATCHES = (1, 3)
"""At which the compact network is compared."""
CLOSE = 1e-5
"""Largest difference of gradients, relative to their norm."""


class Fails(Exception):
    """A check that says no, with its reason."""


@dataclass
class Subject:
    """A network with its Space, and what the checks make of it."""

    case: Case
    network: nn.Module
    space: dnal.Space
    chosen: dnal.Architecture
    format: str
    small: nn.Module | None = None
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def example(self) -> Inputs:
        return self.case.inputs(TRACED, self.case.sizes[0])

    @property
    def compact(self) -> nn.Module:
        if self.small is None:
            raise Fails("there is no compact network")
        return self.small


def main(name: str, memory_gb: float, seconds: int, export_format: str) -> None:
    """All checks on one network under a limit of memory, and of CPU time for all of them together."""
    limited(memory_gb)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    try:
        emit(stage="building")
        run(people.case(name), export_format)
    except dnal.UserError as error:
        emit(status="refused", reason=told(error, 400))
    except Exception as error:  # the row says what a user would have seen
        emit(status="oom" if full(error) else "crash", reason=told(error, 400))
    finally:
        emit(peak_mb=peak_mb())


def run(case: Case, export_format: str) -> None:
    network = exact.randomise(case.network)
    if network.training and "eval" not in vars(network):  # what torch.export gives has no modes
        network.eval()
    example = case.inputs(TRACED, case.sizes[0])
    emit(parameters=sum(p.numel() for p in network.parameters()), stage="analysis")
    forward = seconds_of(lambda: exact.outputs(network, example))
    before = state(network)
    begun = time.process_time()
    space = dnal.Space.of(network, example)
    seconds = time.process_time() - begun
    emit(
        groups=len(space.groups), variables=space.num_variables, removable_share=round(space.removable_share, 3),
        analysis_seconds=round(seconds, 2), forward_seconds=round(forward, 4),
        analysis_over_forward=round(seconds / forward), fixed_because=fixed_because(space),
        not_counted=" ".join(space.uncounted), helped_modules=len(space.helped),
    )  # fmt: skip
    subject = Subject(case, network, space, exact.half_of(space, 1), export_format)
    reasons = []
    for check, function in CHECKS.items():
        if not space.num_variables and check not in WITHOUT_VARIABLES:
            continue
        emit(stage=check)
        subject.found = {}
        try:
            function(subject)
            verdict = "yes"
        except Exception as error:  # a check that raises is a check that says no
            if full(error):
                raise
            verdict = "no"
            reasons.append(f"{check}: {error if isinstance(error, Fails) else told(error, 300)}")
        emit(**{check: verdict, **subject.found}, reason="; ".join(reasons))
    if state(network) != before:
        reasons.append("the network is not what it was")
    status = "fails" if reasons else "all hold" if space.num_variables else "nothing varies"
    emit(status=status, reason="; ".join(reasons))


def seconds_of(function: Callable[[], Any]) -> float:
    """Seconds of CPU, the mean of as many runs as the clock, which is coarse, needs."""
    function()
    begun, runs = time.process_time(), 0
    while time.process_time() - begun < 0.2:
        function()
        runs += 1
    return (time.process_time() - begun) / runs


def state(network: nn.Module) -> list[Any]:
    """Modes, hooks and the sums of all tensors."""
    modes = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in network.modules()]
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return [*modes, *((n, t.requires_grad, str(t.detach().double().sum().item())) for n, t in tensors)]


def is_exact(of: Subject) -> None:
    """Half of the variables removed, at two batches and two sizes, with another choice of channels as a control; in
    double precision too where single precision is close only."""
    if of.case.selects:
        of.small = dnal.compact(of.network, of.chosen)
        of.found["precision"] = "double"
        _compared(of, exact.copied(of.network).double(), torch.float64)
        return
    try:
        _compared(of, of.network, torch.float32)
    except Fails:
        if not 0 < float(of.found.get("difference", 1)) < exact.NEARLY:
            raise
        of.found["precision"] = "double"
        _compared(of, exact.copied(of.network).double(), torch.float64)


def _compared(of: Subject, network: nn.Module, dtype: torch.dtype) -> None:
    small = dnal.compact(network, of.chosen)
    if dtype == torch.float32:
        of.small = small
    params = sum(p.numel() for p in small.parameters())
    if params != float(of.space.costs["params"](of.chosen.open)):
        raise Fails(f"the compact network has {params} parameters, not as many as the space says")
    zero = exact.with_zeros(network, of.space, of.chosen.open, as_dtype(of.example, dtype))
    tried, worst, wrong = [], 0.0, ""
    for size in of.case.sizes:
        for batch in BATCHES:
            inputs = as_dtype(of.case.inputs(batch, size), dtype)
            expected = exact.outputs(zero, inputs)
            try:
                apart = exact.difference(expected, exact.outputs(small, inputs))
            except Exception as error:
                apart, wrong = float("inf"), wrong or f"at batch {batch}, size {size} it fails: {told(error)}"
            worst = max(worst, apart)
            if apart > exact.TOLERANCE:
                wrong = wrong or f"at batch {batch}, size {size} the outputs differ by {apart:.1e} of the largest"
            tried.append(f"{batch}x{size}")
    first = as_dtype(of.case.inputs(BATCHES[0], of.case.sizes[0]), dtype)
    other = exact.with_zeros(network, of.space, exact.half_of(of.space, 2).open, first)
    control = exact.difference(exact.outputs(other, first), exact.outputs(small, first))
    of.found |= {"batches_x_sizes": " ".join(tried), "difference": f"{worst:.1e}", "control": f"{control:.1e}"}
    if wrong:
        raise Fails(wrong)
    if not (control > 0 and control >= exact.CLOSER * worst):
        raise Fails(f"the negative control differs by {control:.1e} only, the right choice by {worst:.1e}")


def _apart(of: Subject, zero: nn.Module, small: nn.Module, inputs: Inputs) -> float:
    """How far the outputs of two networks are from each other, in the precision that the case asks for."""
    if of.case.selects:
        zero, small = (exact.copied(network).double() for network in (zero, small))
        inputs = as_dtype(inputs, torch.float64)
    return exact.difference(exact.outputs(zero, inputs), exact.outputs(small, inputs))


def as_dtype(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    return tree_map_only(Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t, inputs)  # type: ignore[no-any-return]


def macs(of: Subject) -> None:
    """What the Space, `dnal.macs` and torch's counter say of the whole network and of the compact one."""
    pairs = [("whole", of.network, of.space.full_cost["macs"])]
    if of.small is not None:
        pairs.append(("compact", of.small, round(float(of.space.costs["macs"](of.chosen.open)))))
    wrong = []
    for name, network, said in pairs:
        alike = of.case.pairs or of.case.chooses
        batches, one = ((TRACED,), TRACED) if alike else ((TRACED, *BATCHES), 1)
        by_dnal = {dnal.macs(network, of.case.inputs(batch, of.case.sizes[0])) for batch in batches}
        by_torch = round(counted(network, of.case.inputs(one, of.case.sizes[0])) / one)
        of.found |= {f"macs_told_{name}": said, f"macs_by_torch_{name}": by_torch}
        if of.case.chooses and name == "compact":
            (said,) = by_dnal
        if by_dnal != {said}:
            wrong.append(f"of the {name} network the space says {said}, dnal.macs {sorted(by_dnal)}")
        if of.case.torch_counts and by_torch != said:
            wrong.append(
                f"of the {name} network the space says {said}, torch counts {by_torch} ({by_torch / said:.3f})"
            )
    if wrong:
        raise Fails(", ".join(wrong))


def counted(network: nn.Module, inputs: Inputs) -> int:
    """Multiply-accumulates by torch's counter, with attention and recurrent layers as the products that they are."""
    network = exact.copied(network).requires_grad_(False)  # the counter's hooks fail on scripted functions otherwise
    recurrent = any(isinstance(m, nn.RNNBase) for m in network.modules())
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with ExitStack() as stack:
            if recurrent:
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            counter = stack.enter_context(FlopCounterMode(display=False))
            exact.outputs(network, inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2


def seeded() -> None:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)


def loss_of(network: nn.Module, inputs: Inputs) -> Tensor:
    """A sum of everything that a network returns, each number with a random weight."""
    seeded()
    outputs = [out for out in exact.tensors_in(exact.called(network, inputs)) if out.requires_grad]
    if not outputs:
        raise Fails("no output depends on a parameter")
    noise = torch.Generator().manual_seed(9)
    return torch.stack([(out * torch.randn(out.shape, generator=noise)).sum() / out.numel() for out in outputs]).sum()


def training_step(of: Subject) -> None:
    """One step in training mode under gates between 0 and 1: all gradients are finite, and those of the same network
    whose weights were multiplied by the gates beforehand."""
    gated = dnal.Gated(copy.deepcopy(of.network), of.space).train()
    with torch.no_grad():
        gated.s.copy_(torch.randn(of.space.num_gates, generator=torch.Generator().manual_seed(1)))
    inputs = (of.case.training or of.case.inputs)(TRACED, of.case.sizes[0])
    loss = loss_of(gated, inputs)
    loss.backward()
    got = {name: p.grad for name, p in gated.network.named_parameters() if p.grad is not None}
    assert gated.s.grad is not None
    if not all(bool(grad.isfinite().all()) for grad in (gated.s.grad, *got.values())):
        raise Fails("gradients are not finite")
    copy.deepcopy(gated)
    of.found["training_step"] = "finite"
    if of.space.baked:  # the gates stand at the inputs of layers that compute their weight: not a product beforehand
        return
    want_loss, want, of_gates = _by_hand(of, gated, inputs)
    of.found["gradients_differ"] = "-"
    apart = {"the weights": _distance(want, got), "the gates": _distance({"": of_gates}, {"": gated.s.grad})}
    of.found["gradients_differ"] = f"{max(apart.values()):.1e}"
    wrong = [
        f"gradients of {name} differ by {value:.1e} of their norm" for name, value in apart.items() if value > CLOSE
    ]
    if wrong:
        of.found.pop("training_step")
        raise Fails(", ".join(wrong) + f" (losses {loss.item():.6g} and {want_loss:.6g})")
    of.found["training_step"] = "equal"


def _by_hand(of: Subject, gated: dnal.Gated, inputs: Inputs) -> tuple[float, dict[str, Tensor], Tensor]:
    """The loss, the gradients of the weights and those of s, by plain products before a plain step."""
    twin = copy.deepcopy(of.network).train()
    own = {**dict(of.network.named_buffers()), **dict(of.network.named_parameters())}
    raw = {name: own[name].detach().clone().requires_grad_() for name in {name for name, _ in of.space.gates}}
    s = gated.s.detach().clone().requires_grad_()
    gates = torch.cat((torch.sigmoid(gated.delta * s), torch.ones(1)))
    products = dict(raw)
    for name, dim in of.space.gates:
        ids = {**of.space.sources, **of.space.buffer_sources}[name][dim]
        shape = [-1 if d == dim else 1 for d in range(raw[name].dim())]
        products[name] = products[name] * gates[ids].view(shape)
    places = {**dict(twin.named_buffers()), **dict(twin.named_parameters())}
    with torch.no_grad():
        for name, product in products.items():
            places[name].copy_(product)
    for name in products:
        places[name].requires_grad_()
    loss = loss_of(twin, inputs)
    loss.backward()
    reached = [name for name in products if places[name].grad is not None]
    torch.autograd.backward([products[name] for name in reached], [places[name].grad for name in reached])
    trained = {name for name, p in of.network.named_parameters() if p.requires_grad}
    want = {name: p.grad for name, p in twin.named_parameters() if name in trained and p.grad is not None}
    want |= {name: tensor.grad for name, tensor in raw.items() if name in want and tensor.grad is not None}
    return loss.item(), want, torch.zeros_like(s) if s.grad is None else s.grad


def _distance(want: dict[str, Tensor], got: dict[str, Tensor]) -> float:
    """Of all numbers together, relative to the norm of the wanted ones; a tensor that lacks counts as zeros."""
    squares = apart = 0.0
    for name in want.keys() | got.keys():
        one, other = want.get(name), got.get(name)
        one = torch.zeros_like(other) if one is None else one
        other = torch.zeros_like(one) if other is None else other
        squares += float(one.double().square().sum())
        apart += float((one - other).double().square().sum())
    return (apart / squares) ** 0.5 if squares else float(apart > 0)


def eval_mode(of: Subject) -> None:
    """The compact network trains for one step; then in eval mode, as a user runs it, it gives finite numbers, twice
    the same."""
    small = of.compact
    if small.training != of.network.training:
        raise Fails("the compact network is in another mode than the original")
    small.train()
    loss_of(small, (of.case.training or of.case.inputs)(TRACED, of.case.sizes[0])).backward()
    with torch.no_grad():
        for parameter in small.parameters():
            if parameter.grad is not None:
                parameter.sub_(1e-4 * parameter.grad)
    small.eval()
    inputs = of.case.inputs(BATCHES[-1], of.case.sizes[0])
    with torch.inference_mode():
        once, again = (exact.tensors_in(exact.called(small, inputs)) for _ in range(2))
    if exact.difference(once, again) != 0:
        raise Fails("two runs in eval mode differ")
    kinds = [out for out in exact.outputs(of.network, inputs) if not out.isfinite().all()]
    if not kinds and not all(bool(out.isfinite().all()) for out in once):
        raise Fails("outputs in eval mode are not finite")


def deep_copy(of: Subject) -> None:
    """`copy.deepcopy` of the compact network after its step computes the same."""
    twin = exact.copied(of.compact)
    apart = exact.difference(exact.outputs(of.compact, of.example), exact.outputs(twin, of.example))
    if apart != 0:
        raise Fails(f"the copy differs by {apart:.1e}")


def second_round(of: Subject) -> None:
    """The compact network's groups are those of the first Space, as wide as what stayed, and a second removal is exact
    too."""
    again = dnal.Space.of(of.compact, of.example)
    left = {frozenset(g.places): int(of.chosen.open[g.variables].sum()) for g in of.space.groups}
    found = {frozenset(g.places): g.width for g in again.groups}
    of.found["groups_again"] = len(again.groups)
    # One head that is left has channels of its own, which may be new; one channel that is left need not vary.
    gone = [g.name for g in of.space.groups if left[frozenset(g.places)] > 1 and frozenset(g.places) not in found]
    wide = [p for p in left.keys() & found.keys() if left[p] > 1 and left[p] != found[p]]
    other = [f"{sorted(p)[0][0]} {left[p]} -> {found[p]}" for p in wide]
    if gone or other:
        raise Fails(
            f"{len(gone)} of {len(left)} groups are gone (the first is '{gone[0] if gone else '-'}'), "
            f"{len(other)} have another width {other[:2]}"
        )
    if not again.num_variables:
        return
    chosen = exact.half_of(again, 3)
    smaller = dnal.compact(of.compact, chosen)
    zero = exact.with_zeros(of.compact, again, chosen.open, of.example)
    apart = _apart(of, zero, smaller, of.example)
    if apart > exact.NEARLY:
        raise Fails(f"a second removal differs by {apart:.1e}")


def without_branches(of: Subject) -> None:
    """Every second residual branch closed, the first or the second of each two, with all channels and with half of
    them: exact in eval mode, as a user runs it, and it trains."""
    space = dnal.Space.of(of.network, of.example, depth=True)
    of.found["branches"] = space.num_branches
    if not space.num_branches:
        of.found["without_branches"] = "none offered"
        return
    everything = torch.ones(space.num_variables, dtype=torch.bool)
    half = exact.half_of(replace(space, branches=[], choices=[]), 4).open if space.num_variables else everything
    for channels in (everything, half):
        for first in range(min(2, space.num_branches)):
            stays = torch.ones(space.num_gates, dtype=torch.bool)
            stays[: space.num_variables] = channels
            stays[space.num_variables + first :: 2] = False
            _branches_closed(of, space, dnal.Architecture.of(space, stays))


def _branches_closed(of: Subject, space: dnal.Space, chosen: dnal.Architecture) -> None:
    small = dnal.compact(of.network, chosen)
    zero = exact.with_zeros(of.network, space, chosen.open, of.example)
    parameters = dict(zero.named_parameters(remove_duplicate=False))
    closed = [branch for branch in space.branches if not chosen.open[branch.variable]]
    with torch.no_grad():
        for branch in closed:
            for name in branch.bypass.places:
                parameters[name if name in parameters else f"network.{name}"].zero_()
    inputs = of.case.inputs(BATCHES[-1], of.case.sizes[0])
    apart = _apart(of, zero, small, inputs)
    if apart > exact.NEARLY:
        raise Fails(f"without {', '.join(branch.name for branch in closed[:3])} the outputs differ by {apart:.1e}")
    loss_of(small.train(), (of.case.training or of.case.inputs)(TRACED, of.case.sizes[0])).backward()


def export(of: Subject) -> None:
    """The compact network as a file, checked at three batches. Where it does not leave it is no fault if the original
    does not either."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"network.{of.format}"
        try:
            dnal.export.export(of.compact, of.example, path, of.format)
        except dnal.UserError as error:
            refused = str(error)[:300]
        else:
            of.found["export"] = of.format
            return
        try:
            dnal.export.export(of.network, of.example, path, of.format)
        except dnal.UserError:
            of.found |= {"export": "nor the original", "export_refused": refused}
            return
    raise Fails(f"the original leaves as {of.format}, the compact network does not: {refused}")


CHECKS: dict[str, Callable[[Subject], None]] = {
    "exact": is_exact,
    "macs": macs,
    "training_step": training_step,
    "eval_mode": eval_mode,
    "deep_copy": deep_copy,
    "second_round": second_round,
    "without_branches": without_branches,
    "export": export,
}
WITHOUT_VARIABLES = ("macs", "without_branches")
"""What can be asked where nothing varies."""
