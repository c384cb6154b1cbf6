"""One growth of a network: where new neurons lower the loss most for what they cost, which ones, and how strong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dnal.base.errors import UserError, all_names
from dnal.methods.growing.closed_form import Neurons, gradmax_neurons, neurons, random_neurons
from dnal.methods.growing.columns import Layer
from dnal.methods.growing.grown import Grown, as_identity, grid
from dnal.methods.growing.sites import Site, growable
from dnal.methods.growing.statistics import Loss, Pairing, measured
from dnal.repair.statistics import kept_buffers
from dnal.space.surgery.inputs import cloned
from dnal.space.surgery.running import call, evaluating, undisturbed
from dnal.train.batch import split
from dnal.train.rows import device_of, to_device

KINDS = ("tiny", "gradmax", "random-neurons")
"""Ways to make new neurons."""
LEAST = 1e-3
"""Singular values below this share of the largest of their group are taken for noise."""
NONE = 1e-12
"""Where none is above, nothing is to be gained."""
FEW = 4
"""In one growth a group becomes at most twice as wide, or gets so many channels."""
SMALLEST, LARGEST = 4.0**-6, 4.0**4
"""Amplitudes that are tried."""


class Added(NamedTuple):
    """What one growth added to a group.

    Attributes:
        group: its name. channels: how many are new. gain: what the loss of an example falls by, to first order and as
            far as this network is linear: the sum of s_k^2; 0 for random neurons. amplitude: gamma, by which the
            product of the weights on both sides of a neuron is multiplied. loss: on the data of the line search, after.
    """

    group: str
    channels: int
    gain: float
    amplitude: float
    loss: float


@dataclass(frozen=True)
class Growing:
    """What one growth did.

    Attributes:
        grown: the network afterwards; that of before where nothing was added. added: by group. psi: of each reader the
            bottleneck before, of an example.
    """

    grown: Grown
    added: list[Added]
    psi: dict[str, float]


@dataclass
class _Choice:
    """A site with the neurons that it could get, the best first, of which ``count`` come."""

    pairing: Pairing
    new: Neurons
    count: int = 0


def grow(
    grown: Grown,
    batches: Iterable[Any],
    loss: Loss,
    limits: Mapping[str, float],
    *,
    method: str = "tiny",
    search: Iterable[Any] | None = None,
    seed: int = 0,
    sites: Sequence[Site] | None = None,
) -> Growing:
    """Adds neurons to a network where they lower the loss most for what they cost, as many as keep the limits.

    Each group gets at most as many as it has channels. Groups are ordered by s_k^2 per cost; the amplitude of each
    group's new weights is searched on the true loss. The network given stays as it is.

    Args:
        grown: ``Grown.of(network, space)`` the first time, then what this function returned. Train ``grown.network``
            in between; :meth:`Grown.carry` takes the optimizer's state along.
        batches: some hundred examples, (inputs, targets) each. loss: (outputs, targets) -> the mean over a batch.
        limits: what the grown network may cost: "params", "macs" of one example, or both.
        method: "tiny", the closed form; "gradmax", neurons that compute nothing and have the largest gradient;
            "random-neurons", random ones where TINY's would come.
        search: other examples for the amplitude; the same ones overfit.
        seed: of the random neurons.
        sites: those that may grow, of :func:`growable`, where they are known already.

    Raises:
        UserError: an unknown method or limit, or nothing in the network can grow.

    Examples:
        >>> network = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3))
        >>> space = dnal.Space.of(network, torch.randn(2, 4))
        >>> batch = torch.randn(64, 4), torch.randint(3, (64,))
        >>> found = grow(Grown.of(network, space), [batch], nn.functional.cross_entropy, {"params": 35})
        >>> found.grown.network
        Sequential(
          (0): Linear(in_features=4, out_features=4, bias=True)
          (1): ReLU()
          (2): Linear(in_features=4, out_features=3, bias=True)
        )
    """
    if method not in KINDS:
        raise UserError(f"unknown way to grow '{method}'{all_names(method, KINDS)}")
    unknown = [name for name in limits if name not in ("params", "macs")]
    if unknown or not limits:
        raise UserError(f"growth is bounded by params and macs, not by {', '.join(unknown) or 'nothing'}.")
    if sites is None:
        sites, why = growable(grown.origin, grown.space)
        if not sites:
            raise UserError(nothing_grows(why))
    batches = list(batches)
    draw = torch.Generator().manual_seed(seed)
    found = measured(grown.network, sites, batches, loss, project=method != "gradmax")
    choices = _choices(grown, found.pairings, method)
    copies, order = _fill(grown, choices, limits)
    if not order:
        return Growing(grown, [], found.psi)
    wider = grown.wider(copies)
    own = _Own(grown, wider)
    searched = list(batches if search is None else search)
    added = []
    for choice in order:
        new = Neurons(*(part[: choice.count] for part in choice.new))
        if method == "random-neurons":
            alpha, omega, _ = random_neurons(choice.count, choice.pairing.inputs, new.omega.size(1), draw)
            new = Neurons(alpha.to(new.alpha), omega.to(new.omega), torch.zeros_like(new.s))
        added.append(_place(own, choice, new, method, searched, loss))
    _norms(own, order, batches)
    return Growing(wider, added, found.psi)


def nothing_grows(why: Mapping[str, str]) -> str:
    """A sentence that says of the first group why it cannot grow."""
    first = next(iter(why.items()), None)
    reason = "it has no channels that may vary" if first is None else f"{first[0]}: {first[1]}"
    return f"no layer of this network can grow ({reason})."


def _choices(grown: Grown, pairings: Sequence[Pairing], method: str) -> list[_Choice]:
    """Of each site the best pairing, and all neurons that it could get."""
    best: dict[str, _Choice] = {}
    for pairing in pairings:
        second, cross = pairing.sums(whole=method == "gradmax")
        width = int(grown.copies[pairing.site.variables].sum())
        most = max(width, FEW)
        if method == "gradmax":
            new = gradmax_neurons(cross, most, _read_norm(grown, pairing), NONE)
        else:
            new = neurons(second, cross, most, NONE)
        there = int((new.s > LEAST * new.s[:1]).sum())
        new = Neurons(*(part[:there] for part in new))
        known = best.get(pairing.site.name)
        if len(new.s) and (known is None or float(new.s.norm()) > float(known.new.s.norm())):
            best[pairing.site.name] = _Choice(pairing, new)
    return list(best.values())


def _fill(grown: Grown, choices: list[_Choice], limits: Mapping[str, float]) -> tuple[Tensor, list[_Choice]]:
    """How often each variable is there with the neurons that lower the loss most for their cost, and the choices of
    which some come, those of the most gain first."""
    copies, now = grown.copies.clone(), grown.cost()
    candidates = []
    for choice in choices:
        one = copies.clone()
        one[choice.pairing.site.variables[0]] += 1
        more = max((grown.cost(one)[name] - now[name]) / limit for name, limit in limits.items())
        candidates += [(float(s) ** 2 / max(more, 1e-12), choice) for s in choice.new.s]
    for _, choice in sorted(candidates, key=lambda candidate: -candidate[0]):
        variables = torch.tensor(choice.pairing.site.variables)
        variable = int(variables[copies[variables].argmin()])
        copies[variable] += 1
        cost = grown.cost(copies)
        if any(cost[name] > limit for name, limit in limits.items()):
            copies[variable] -= 1
        else:
            choice.count += 1
    order = [choice for choice in choices if choice.count]
    return copies, sorted(order, key=lambda choice: -float(choice.new.s[: choice.count].square().sum()))


class _Own:
    """The network before and after, and where things stand in it; each place is looked up once."""

    def __init__(self, before: Grown, wider: Grown) -> None:
        self.before, self.wider = before, wider
        self.places = before.places_in(wider)
        self._known: dict[tuple[str, str, int], Tensor] = {}

    def at(self, site: Site, name: str, dim: int) -> Tensor:
        """The indices of a site's new channels along a dimension of a tensor, (channels, indices of each)."""
        key = (site.name, name, dim)
        if key not in self._known:
            variables = torch.tensor(site.variables)
            self._known[key] = self.wider.channels(name, dim, variables, self.before.copies)
        return self._known[key]


def _place(own: _Own, choice: _Choice, new: Neurons, method: str, batches: Sequence[Any], loss: Loss) -> Added:
    """Writes new neurons into the wider network, in place, with the amplitude at which its loss is lowest."""
    pairing = choice.pairing
    site, writer = pairing.site, pairing.site.writers[pairing.writer]
    omega = pairing.apart(new.omega, whole=method == "gradmax")

    def put(amplitude: float) -> None:
        root = abs(amplitude) ** 0.5
        _write(own, site, pairing.writer, writer, new.alpha * (root or 1.0))
        for path, part in omega.items():
            _read(own, site, path, part * (root if amplitude >= 0 else -root))

    def loss_at(amplitude: float) -> float:
        with torch.no_grad():
            put(amplitude)
        return loss_of(own.wider.network, batches, loss)

    if method == "gradmax":  # what its neurons compute is 0 at any amplitude
        amplitude, value = 1.0, loss_at(1.0)
    else:
        amplitude, value = best_amplitude(loss_at)
    with torch.no_grad():
        put(amplitude)
    return Added(site.name, choice.count, float(new.s.square().sum()), amplitude, value)


def best_amplitude(loss_at: Callable[[float], float]) -> tuple[float, float]:
    """The amplitude at which a loss is lowest, and the loss there: 0 where no other one lowers it.

    From 1 it becomes smaller until the loss is lower than at 0, and then goes on to where it is lowest, by factors of 4
    and in the end of 2. The negative sign is tried where no positive amplitude helps.
    """
    found = {0.0: loss_at(0.0)}

    def try_near(factors: Sequence[float]) -> bool:
        """Whether one beside the best amplitude is better."""
        best = min(found, key=lambda amplitude: found[amplitude])
        for near in (best * factor for factor in factors):
            if near not in found and SMALLEST <= abs(near) <= LARGEST:
                found[near] = loss_at(near)
        return min(found, key=lambda amplitude: found[amplitude]) != best

    for sign in (1.0, -1.0):
        size = 1.0
        while size >= SMALLEST and not min(found, key=lambda amplitude: found[amplitude]):
            found[sign * size] = loss_at(sign * size)
            size /= 4
        if min(found, key=lambda amplitude: found[amplitude]):
            while try_near((4.0, 0.25)):
                pass
            try_near((2.0, 0.5))
            break
    best = min(found, key=lambda amplitude: found[amplitude])
    return best, found[best]


def loss_of(network: nn.Module, batches: Iterable[Any], loss: Loss) -> float:
    """The mean loss of a network over batches, in eval mode; it and everything random stay as they are."""
    total = count = 0.0
    device = device_of(network)
    for batch in batches:
        inputs, targets = to_device(split(batch), device)
        with undisturbed(inputs), evaluating(network), kept_buffers(network):
            total += float(loss(call(network, cloned(inputs)), targets))
        count += 1
    return total / max(count, 1)


def _write(own: _Own, site: Site, path: str, layer: Layer, alpha: Tensor) -> None:
    """The weights of new channels in the layer that makes them; alpha: (channels, columns)."""
    module = own.wider.network.get_submodule(path)
    weight, name = module.get_parameter("weight"), f"{path}.weight"
    rows = own.at(site, name, 0)[:, 0]
    block = grid((rows, *own.places[name][1:]), weight.device)
    shape = [len(rows), *(len(index) for index in own.places[name][1:])]
    columns = alpha[:, :-1] if layer.bias else alpha
    weight[block] = columns.reshape(shape).to(weight)
    if layer.bias:
        bias = module.get_parameter("bias")
        bias[own.at(site, f"{path}.bias", 0)[:, 0].to(bias.device)] = alpha[:, -1].to(bias)


def _read(own: _Own, site: Site, path: str, omega: Tensor) -> None:
    """The weights of new channels in a layer that reads them; omega: (channels, outputs, kernel positions)."""
    name = f"{path}.weight"
    weight = own.wider.network.get_submodule(path).get_parameter("weight")
    columns, rows = own.at(site, name, 1), own.places[name][0]
    if columns.size(1) > 1 or weight.dim() == 2:  # a linear layer, of which a channel has a column for each position
        weight[grid((rows, columns.flatten()), weight.device)] = omega.transpose(0, 1).flatten(1).to(weight)
        return
    block = grid((rows, columns[:, 0], *own.places[name][2:]), weight.device)
    weight[block] = omega.transpose(0, 1).reshape(len(rows), len(columns), *weight.shape[2:]).to(weight)


@torch.no_grad()
def _read_norm(grown: Grown, pairing: Pairing) -> float:
    """The mean length of the weights with which a channel of a site is read."""
    total = 0.0
    for path in pairing.readers:
        weight = grown.network.get_submodule(path).get_parameter("weight")
        at = grown.channels(f"{path}.weight", 1, torch.tensor(pairing.site.variables)).to(weight.device)
        total = total + weight[:, at.flatten()].unflatten(1, at.shape).transpose(0, 1).flatten(1).square().sum(1)
    return float(torch.as_tensor(total).sqrt().mean())


@torch.no_grad()
def _norms(own: _Own, order: Sequence[_Choice], batches: Sequence[Any]) -> None:
    """Measures what the new channels are where batch norms take them, so that in training they are passed as they are
    at first too. While it is measured they pass them in any case."""
    network = own.wider.network
    at: dict[str, list[Tensor]] = {}
    for choice in order:
        for path in choice.pairing.site.norms:
            name = f"{path}.weight" if path else "weight"
            at.setdefault(path, []).append(own.at(choice.pairing.site, name, 0)[:, 0])
    sums = {path: (0, torch.zeros(()), torch.zeros(())) for path in at}

    def watching(path: str, channels: Tensor) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...]) -> None:
            values = given[0][:, channels.to(given[0].device)].transpose(0, 1).flatten(1).double()
            count, total, squares = sums[path]
            sums[path] = count + values.size(1), total + values.sum(1), squares + values.square().sum(1)

        return hook

    channels = {path: torch.cat(parts) for path, parts in at.items()}
    handles = [
        network.get_submodule(p).register_forward_pre_hook(watching(p, own_at)) for p, own_at in channels.items()
    ]
    try:
        loss_of(network, batches, lambda outputs, targets: torch.zeros(()))
    finally:
        for handle in handles:
            handle.remove()
    for path, (count, total, squares) in sums.items():
        norm = network.get_submodule(path)
        assert isinstance(norm, _BatchNorm)
        if count:
            mean = total / count
            variance = (squares / count - mean.square()).clamp(min=0)
            as_identity(norm, channels[path], mean, variance)
