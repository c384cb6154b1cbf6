"""Transformable architecture search (TAS, arXiv 1905.09717): distributions over widths and depth, learnt by gradient.

Every group of the Space has logits over the widths 30 %, 40 %, ..., 100 % of its own. Each step draws two of them per
group with Gumbel's trick; the layers run at full width, each of the two takes its first channels through a batch norm
of its own, the narrower is interpolated to the channels of the wider (``dnal.methods.tas.interpolation``), and both are
mixed by their renormalised probabilities. Steps alternate: training data move the weights, validation data the logits,
with a cost loss that pushes up below the target and down above it.

How it meets networks of any kind: a group's pair of widths is shared by all its norms (a residual stream has several),
which are those of ``torch.nn.BatchNorm*d`` that hold each channel of the group once. The channels of a group without
such a norm are multiplied, where they are read, by the probability that the drawn width holds them. Other differences
from the paper:

* Depth: the paper has a distribution over the number of blocks of a stage; here every residual branch that the Space
  may close has a probability of its own to be kept, by which its output is multiplied. Summed over a stage's identity
  blocks both are the same form. A Space without branches keeps all its blocks. So have the candidates of a supernet,
  which the paper does not know; where one of them must stay, the likeliest one does.
* The base is trained already, so "the first channels" of a group are those with the largest L1 norm.
* The band of the cost loss is 5 % of the target, not of the whole network, and of several bounds the tightest counts.
* A few hundred steps have to do, not 58,800. So the logits' learning rate is higher and falls; and the gradient of the
  cost loss, which the paper doubles, is made at least twice as long as the task's: that grows as tau falls, and over so
  few steps would drown it (networks ended well above their target). The arg max still leaves its target now and then;
  what is found is the last one that was on it, in the paper that of the last epoch.
* The network found is handed back with weights; the paper trains it from new weights with knowledge transfer,
  which is ``reinitialize`` and the technique ``distillation``.

A step costs a training step and a validation step of the same size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.changes.removal import Removal
from dnal.gates.gated import Gated
from dnal.methods.magnitude import l1_scores
from dnal.methods.method import Method
from dnal.methods.tas.norms import Candidates, in_place_of, plain_norms
from dnal.methods.task import Task
from dnal.selection.ranking import ranks
from dnal.selection.widths import WidthRule
from dnal.space.lasting import lasting
from dnal.space.space import Group, Space
from dnal.train.enough import enough
from dnal.train.evaluate import Validate
from dnal.train.loader import Loader
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.resume.data_position import DataPosition
from dnal.train.schedule import cosine
from dnal.train.step import Step, set_lr
from dnal.train.technique import Technique

TENTHS = range(3, 11)
"""The widths of the paper, in tenths of the group's own."""
DRAWN = 2
BAND = 0.05
"""The cost is on target from 1 - BAND of it on."""
COST_WEIGHT = 2.0
"""How much the cost loss counts beside the task's."""


def widths_to_try(space: Space, group: Group, rule: WidthRule | None = None) -> list[int]:
    """The widths of a group among which the search chooses: int(r * width), ascending, each the nearest allowed one."""
    allowed = (rule or WidthRule()).allowed_in(space, group)
    wanted = [max(1, tenth * group.width // 10) for tenth in TENTHS]
    return sorted({min(allowed, key=lambda count: (abs(count - width), count)) for width in wanted})


def tau_at(progress: float, start: float = 5.0, end: float = 0.1) -> float:
    """The temperature: cosine from ``start`` to ``end``."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def drawn(logits: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Two different choices a row, and how they are mixed; both (rows, 2).

    With o = (log softmax(logits) + Gumbel noise) / tau, the choices are drawn by softmax(o), and mixed by the softmax
    of their own two o, through which the gradient comes. A logit of -inf is no choice.
    """
    noise = -torch.empty_like(logits).exponential_().clamp(min=torch.finfo(logits.dtype).tiny).log()
    o = (logits.log_softmax(dim=1) + noise) / tau
    with torch.no_grad():
        possible = (o.softmax(dim=1) + 1e-7) * logits.isfinite()
        choices = torch.multinomial(possible, DRAWN)
    return choices, o.gather(1, choices).softmax(dim=1)


def cost_loss(expected: Tensor, found: float, target: float) -> Tensor:
    """log E[F] while the arg-max architecture's cost ``found`` is above the target, -log E[F] while it is more than 5 %
    below, else 0. ``expected``: E[F], a scalar under the distribution."""
    if found > target:
        return expected.log()
    return -expected.log() if found < (1 - BAND) * target else 0 * expected


class _Norm(NamedTuple):
    """Channels of a plain norm that candidates stand for, the row of their group, and the branches that end here."""

    module: nn.Module
    row: int
    branches: list[int]


class WidthSupernet(Gated):
    """A network together with the distributions over its widths and branches. For any training loop::

        supernet = WidthSupernet(network, space)
        weights = SGD([*network.parameters(), *supernet.norms.parameters()], ...)
        logits = Adam(supernet.distributions(), lr=..., betas=(0.5, 0.999), weight_decay=1e-3)
        for step, ((x, y), (held_out_x, held_out_y)) in enumerate(...):
            supernet.tau = tau_at(step / steps)
            supernet.zero_grad()
            loss(supernet(x), y).backward()
            weights.step()
            supernet.zero_grad()
            loss(supernet(held_out_x), held_out_y).backward()
            supernet.add_cost_gradient(limits)
            logits.step()
            supernet.remember(limits)
        supernet.settle()
        open_variables = select(space, supernet.scores(), limits)

    In train mode every forward pass draws, from torch's global generator; in eval mode the most likely architecture
    runs. Between two passes nothing of it is in the network, whose own norms wait for :meth:`settle`.

    Attributes:
        logits: (searched groups, choices); a group with fewer choices leaves the last ones aside.
        keep: (branches,), the log odds of being kept. tau: the temperature. norms: the candidates of every norm.
        choices, kept: the architecture remembered; met: whether it was on target.
    """

    def __init__(self, network: nn.Module, space: Space, widths: WidthRule | None = None) -> None:
        super().__init__(network, space)
        self.s.requires_grad_(False)  # the gates come of the distributions
        self.space, self.tau = space, tau_at(0.0)
        tried = [widths_to_try(space, group, widths) for group in space.groups]
        searched = [number for number, counts in enumerate(tried) if len(counts) >= DRAWN]
        tried = [tried[number] for number in searched]
        most = max((len(counts) for counts in tried), default=DRAWN)
        self.logits = nn.Parameter(0.01 * torch.randn(len(tried), most))
        self.keep = nn.Parameter(0.01 * torch.randn(space.num_branches))
        rank = ranks(space, l1_scores(network, space))
        row_of = torch.full((space.num_variables,), -1)
        for row, number in enumerate(searched):
            row_of[space.groups[number].variables] = row
        self.norms = nn.ModuleList()
        self._plain: list[_Norm] = []
        for module, name, ids in plain_norms(network, space):
            of_branches = [n for n, b in enumerate(space.branches) if f"{name}.weight" in b.bypass.places]
            for row, number in enumerate(searched):
                channels = torch.isin(ids, space.groups[number].variables).nonzero().squeeze(1)
                if len(channels) == space.groups[number].width == len(ids[channels].unique()):
                    order = channels[rank[ids[channels]].argsort()]
                    self.norms.append(Candidates(module, order, tried[row]))
                    self._plain.append(_Norm(module, row, of_branches))
        table = torch.tensor([counts + [0] * (most - len(counts)) for counts in tried], dtype=torch.long)
        normed = torch.zeros(len(tried) + 1, dtype=torch.bool)
        normed[[norm.row for norm in self._plain]] = True
        self.register_buffer("_table", table.view(len(tried), most), persistent=False)
        self.register_buffer("_rank", rank, persistent=False)
        self.register_buffer("_row", row_of, persistent=False)
        self.register_buffer("_normed", normed, persistent=False)
        self._table: Tensor
        self._rank: Tensor
        self._row: Tensor
        self._normed: Tensor
        self.register_buffer("choices", self._possible().detach().argmax(dim=1))
        self.register_buffer("kept", self._staying().detach())
        self.register_buffer("met", torch.tensor(False))
        self.choices: Tensor
        self.kept: Tensor
        self.met: Tensor
        self._gates: Tensor | None = None

    def distributions(self) -> list[nn.Parameter]:
        """What the architecture's optimizer moves."""
        return [parameter for parameter in (self.logits, self.keep) if parameter.numel()]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.training and len(self.logits):
            choices, shares = drawn(self._possible(), self.tau)
        else:
            choices = self._possible().argmax(dim=1, keepdim=True)
            shares = torch.ones_like(choices, dtype=self.logits.dtype)
        kept = self._kept()
        widths = self._table.gather(1, choices)
        held = self._held(widths, shares)
        # what the norms have mixed already is only cut off behind them
        self._gates = torch.cat((torch.where(self._normed[self._row], held > 0, held), kept))
        rows = choices.tolist()
        hooks = []
        for norm, candidates in zip(self._plain, self.norms, strict=True):
            assert isinstance(candidates, Candidates)
            gate = kept[norm.branches].prod()
            hook = partial(in_place_of, candidates, rows[norm.row], shares[norm.row], gate)
            hooks.append((norm.module, hook))
        try:
            with lasting(partial(_hooked, hooks)):
                return super().forward(*args, **kwargs)
        finally:
            self._gates = None

    def gates(self) -> Tensor:
        """Of the forward pass under way, else of the most likely architecture; (num_gates,)."""
        return self._gates if self._gates is not None else self.most_likely()

    def most_likely(self) -> Tensor:
        """The gates, 0 or 1, of the arg max of every distribution: (num_gates,)."""
        return self._opened(self._possible().argmax(dim=1), self._staying())

    def found(self) -> Tensor:
        """The gates, 0 or 1, of the architecture that was remembered: (num_gates,)."""
        return self._opened(self.choices, self.kept)

    def expected(self) -> Tensor:
        """The gates under the distributions: the probability of each channel to be there; (num_gates,)."""
        return torch.cat((self._held(self._table, self._possible().softmax(dim=1)), self.keep.sigmoid()))

    def add_cost_gradient(self, limits: Mapping[str, float]) -> None:
        """After the task's backward pass: adds the gradient of :func:`cost_loss`, of the cost that uses most of its
        limit, to that of the distributions: doubled, and at least twice as long as what is there."""
        if not limits:
            return
        name, cost = self._tightest(limits)
        moved = self.distributions()
        with torch.enable_grad():
            loss = cost_loss(self.space.costs[name](self.expected()), cost, limits[name])
            slopes = torch.autograd.grad(loss, moved)
        length = torch.stack([slope.norm() for slope in slopes]).norm()
        own = torch.stack([parameter.grad.norm() for parameter in moved if parameter.grad is not None]).norm()
        for parameter, slope in zip(moved, slopes, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(slope * (COST_WEIGHT * (own / length.clamp(min=1e-12)).clamp(min=1)))

    @torch.no_grad()
    def remember(self, limits: Mapping[str, float]) -> None:
        """After a step: the most likely architecture becomes what was found, unless it is off its target, and an
        earlier one was on it."""
        name, cost = self._tightest(limits) if limits else ("", 0.0)
        on_target = not limits or (1 - BAND) * limits[name] <= cost <= limits[name]
        if on_target or not bool(self.met):
            self.choices.copy_(self._possible().argmax(dim=1))
            self.kept.copy_(self._staying())
            self.met.fill_(on_target)

    def scores(self) -> Tensor:
        """Scores that, ranked over the whole network, give the widths found times one factor, (num_gates,).

        The channel of rank r in a group whose width is C has C / (r + 1/2), so {score > 1} are the widths found, and
        {score > 1 / f} has f times as many everywhere. Kept branches come first, the others last.
        """
        found = self.found()
        scores = torch.empty(self.space.num_gates, dtype=torch.float64)
        for group in self.space.groups:
            width = float(found[group.variables].sum())
            scores[group.variables] = width / (self._rank[group.variables].double().cpu() + 0.5)
        scores[self.space.num_variables :] = torch.where(self.kept.cpu(), torch.inf, -torch.inf).double()
        return scores

    @torch.no_grad()
    def settle(self) -> None:
        """Gives the network's own norms what the candidates of the widths found have learnt."""
        choices = self.choices.tolist()
        for norm, candidates in zip(self._plain, self.norms, strict=True):
            assert isinstance(candidates, Candidates)
            candidates.write(norm.module, choices[norm.row])

    def _tightest(self, limits: Mapping[str, float]) -> tuple[str, float]:
        """The cost of the most likely architecture that uses most of its limit."""
        likely = self.most_likely().detach()
        costs = {name: float(self.space.costs[name](likely)) for name in limits}
        name = max(costs, key=lambda name: costs[name] / limits[name])
        return name, costs[name]

    def _opened(self, choices: Tensor, kept: Tensor) -> Tensor:
        widths = self._table.gather(1, choices[:, None])
        return torch.cat((self._held(widths, torch.ones_like(widths, dtype=self.keep.dtype)), kept.to(self.keep.dtype)))

    def _possible(self) -> Tensor:
        return self.logits.masked_fill(self._table == 0, -torch.inf)

    def _staying(self) -> Tensor:
        """The branches that the arg max keeps, bool, (branches,)."""
        staying = self.keep > 0
        for choice in self.space.choices:
            branches = choice.to(staying.device) - self.space.num_variables
            staying[branches[self.keep[branches].argmax()]] = True
        return staying

    def _kept(self) -> Tensor:
        """The factor of every branch: drawn by Gumbel's trick with two choices, or 0 or 1 in eval mode."""
        if not self.training:
            return self._staying().to(self.keep.dtype)
        uniform = torch.rand_like(self.keep).clamp(1e-6, 1 - 1e-6)
        return ((self.keep + uniform.logit()) / self.tau).sigmoid()

    def _held(self, widths: Tensor, shares: Tensor) -> Tensor:
        """The share of the ``widths`` (searched groups, n) that hold each channel, (num_variables,); 1 elsewhere."""
        inside = self._rank[:, None] < F.pad(widths, (0, 0, 0, 1))[self._row]  # row -1 is the one added
        share = (inside * F.pad(shares, (0, 0, 0, 1))[self._row]).sum(dim=1)
        return share.where(self._row >= 0, 1)


@contextmanager
def _hooked(hooks: Sequence[tuple[nn.Module, Callable[..., Tensor]]]) -> Iterator[None]:
    with ExitStack() as stack:
        for module, hook in hooks:
            stack.callback(module.register_forward_hook(hook).remove)
        yield


def rate_at(progress: float, steps: int) -> float:
    """The learning rate of the distributions: within ``steps`` a logit must be able to pass the others, and at the end
    the arg max must come to rest. In the paper it is 1e-3 throughout, for 58,800 steps."""
    return min(max(10 / steps, 1e-3), 0.05) * (1 - 0.9 * progress)


@dataclass(frozen=True)
class TAS(Method):
    """Learns distributions over widths and branches, and scales the most likely widths by one factor to the budget.

    Transformable architecture search: each step draws two widths per group with Gumbel's trick and mixes them; training
    data move the weights, validation data the logits, with a cost loss around the target. A step costs a training step
    and a validation step of the same size. Source: arXiv 1905.09717; the head of the file says what differs.
    """

    trains: ClassVar[bool] = True
    gates: ClassVar[bool] = True
    adapts: ClassVar[bool] = True
    reinitializes: ClassVar[bool] = True

    tau_start: float = option(5.0, "Temperature of the draws at the start; it falls on a cosine.", above=0)
    tau_end: float = option(0.1, "That at the end.", above=0)

    def choose(self, task: Task) -> Removal:
        """Raises UserError where every group may have one width only, and no branch may go."""
        network = WidthSupernet(task.network, task.space, task.widths).to(task.context.fabric.device)
        return task.removal(
            search(
                network, task.limits, task.val, task.phase, task.context, taus=(self.tau_start, self.tau_end),
                validate=task.validate,
            )
        )  # fmt: skip


def search(
    supernet: WidthSupernet,
    limits: Mapping[str, float],
    held_out: Loader,
    phase: Phase,
    context: Context,
    *,
    taus: tuple[float, float] = (5.0, 0.1),
    validate: Validate | None = None,
) -> Tensor:
    """The architecture phase: a training batch moves the weights (cosine from the phase's rate to 0), then one of
    ``held_out`` the distributions (Adam), and the network's norms settle.

    Args:
        taus: the temperatures at start and end.

    Returns:
        the scores of what was found, shape (num_gates,), for the selection.

    Raises:
        Diverged: when the loss is no number.
        UserError: where every group may have one width only, and no branch may go.
    """
    if not supernet.distributions():
        raise UserError("there is nothing to search: every group may have one width only; allow narrower widths.")
    steps = max(1, context.steps(phase.epochs))
    own = phase.optimizer(nn.ModuleList([supernet.network, supernet.norms]), phase.lr)
    adam = torch.optim.Adam(supernet.distributions(), lr=rate_at(0, steps), betas=(0.5, 0.999), weight_decay=1e-3)
    run_phase(
        phase, supernet, context, hooks=[_Distributions(supernet, limits, held_out, taus, steps, validate)],
        optimizer=own, others={"distributions": adam}, rate=lambda progress: cosine(progress, phase.lr),
    )  # fmt: skip
    supernet.settle()
    return supernet.scores()


class _Distributions(Technique):
    """Moves the distributions after every step of the weights, by a batch of the held-out data."""

    def __init__(
        self,
        supernet: WidthSupernet,
        limits: Mapping[str, float],
        held_out: Loader,
        taus: tuple[float, float],
        steps: int,
        validate: Validate | None,
    ) -> None:
        self._supernet, self._limits, self._taus, self._steps = supernet, limits, taus, steps
        self._validate = validate
        self._position = DataPosition(enough(held_out, supernet.network), alone=False)
        self._others: Iterator[Any] = chain.from_iterable(repeat(self._position))

    def batch(self, batch: Any, step: Step) -> Any:
        self._supernet.tau = tau_at(step.progress, *self._taus)
        return batch

    def after_step(self, step: Step) -> None:
        supernet, (distributions,) = self._supernet, step.others
        supernet.zero_grad(set_to_none=True)
        step.backward(step.fabric.to_device(next(self._others)))
        step.unscale(distributions)
        supernet.add_cost_gradient(self._limits)
        set_lr(distributions, rate_at(step.progress, self._steps))
        distributions.step()
        supernet.remember(self._limits)

    def record(self) -> dict[str, Any]:
        supernet = self._supernet
        record: dict[str, Any] = {"tau": supernet.tau}
        with torch.no_grad():
            for name, cost in supernet.space.costs.items():
                record[f"{name}_soft"] = float(cost(supernet.expected()))
                record[f"{name}_hard"] = float(cost(supernet.most_likely()))
                record[f"{name}_found"] = float(cost(supernet.found()))
        return record if self._validate is None else record | self._validate(supernet)

    def state_dict(self) -> dict[str, Any]:
        return {"held_out": self._position.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._position.load_state_dict(state["held_out"])
