"""The weight compander: every weight of a convolution or linear layer is a * arctan(v / b) of what is trained.

:class:`WeightCompander` does it in any phase of dnal. In a training loop of your own:

    >>> network = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> companded = Companded(network, a=0.7, b=0.7)
    >>> optimizer = torch.optim.SGD(network.parameters(), 0.1, weight_decay=5e-4)
    >>> network(torch.randn(3, 8)).sum().backward()
    >>> companded.before_step(optimizer)
    >>> optimizer.step()
    >>> companded.after_step(optimizer)
    >>> companded.fold()
    >>> type(network[0].weight)
    <class 'torch.nn.parameter.Parameter'>
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique

Learns = Literal["none", "network", "layer"]

START = {"none": (0.7, 0.7), "network": (0.5, 1.0), "layer": (0.5, 1.0)}
"""a and b by default, by what is learnt: the paper's for VGG16 on CIFAR-10, and its start where they are learnt."""
LEAST = 1e-2
"""Of a learnt a and b: both stay positive."""
ROOM = 0.95
"""Of the range that the weights of a layer may take at the start, where a is learnt and raised for it."""


class Psi(nn.Module):
    """w = a * arctan(v / b), which is odd, steepest at 0 and never as large as a * pi / 2."""

    def __init__(self, a: float, b: float, *, learnt: bool) -> None:
        super().__init__()
        self.a: Tensor | float = nn.Parameter(torch.tensor(a)) if learnt else a
        self.b: Tensor | float = nn.Parameter(torch.tensor(b)) if learnt else b

    def forward(self, v: Tensor) -> Tensor:
        return self.a * torch.atan(v / self.b)

    def right_inverse(self, w: Tensor) -> Tensor:
        """v such that w comes out of it."""
        return self.b * torch.tan(w / self.a)

    def slope(self, v: Tensor) -> Tensor:
        """dw / dv = a / (b (1 + (v / b)^2)), of v's shape."""
        return self.a / (self.b * (1 + (v / self.b) ** 2))


class Companded:
    """A network whose weights of convolutions and linear layers are companded; it computes what it did.

    Biases, norms and weights that several layers share stay as they are.

    Args:
        network: changed in place.
        a, b: of :class:`Psi`; by default 0.7 and 0.7, and 0.5 and 1 where they are learnt.
        learn: "none": they are fixed; "network": one pair is learnt; "layer": one for each layer. A learnt a begins
            higher where the weights of a layer ask for it.
        raises: whether a fixed a is higher, too, for a layer whose weights ask for it, which is told; else these are
            refused.

    Raises:
        UserError: a weight does not fit into a * pi / 2; or a or b is not above 0, or learn is something else.
    """

    def __init__(
        self,
        network: nn.Module,
        a: float | None = None,
        b: float | None = None,
        learn: Learns = "none",
        *,
        raises: bool = False,
    ) -> None:
        if learn not in START:
            raise UserError(f"what the weight compander learns is {', '.join(START)}, not '{learn}'.")
        for name, value in (("a", a), ("b", b)):
            if value is not None and not value > 0:
                raise UserError(f"{name} of the weight compander is above 0, not {value:g}.")
        self.network, self._learn = network, learn
        self._layers = list(_layers(network))
        self._order = [(list(layer._parameters), layer.weight.stride()) for _, layer in self._layers]
        first, second = (given or start for given, start in zip((a, b), START[learn], strict=True))
        if not self._layers:
            warnings.warn(
                "the weight compander changes nothing: no convolution or linear layer is trained.", stacklevel=3
            )
        largest = {name: float(layer.weight.detach().abs().max()) for name, layer in self._layers}
        if learn == "none":
            for name, value in largest.items():
                if value >= first * math.pi / 2 and raises:
                    warnings.warn(
                        f"a weight of '{name}' is {value:.3g}, for which a={first:g} of the weight compander is too "
                        f"small; it is {value / (ROOM * math.pi / 2):.3g} for this layer.",
                        stacklevel=3,
                    )
                elif value >= first * math.pi / 2:
                    raise UserError(
                        f"a weight of '{name}' is {value:.3g}, and the weight compander with a={first:g} has none of "
                        f"{first * math.pi / 2:.3g} or more; choose a larger a."
                    )
        needed = {name: value / (ROOM * math.pi / 2) for name, value in largest.items()}
        shared = Psi(max(first, *needed.values()), second, learnt=True) if learn == "network" and needed else None
        self._steps: list[tuple[nn.Parameter, Psi]] = []
        self._before: list[tuple[nn.Parameter, Tensor, Tensor, Tensor]] = []
        for name, layer in self._layers:
            fits = largest[name] < first * math.pi / 2
            own = max(first, needed[name]) if learn == "layer" or not fits else first
            psi = shared or Psi(own, second, learnt=learn == "layer")
            parametrize.register_parametrization(layer, "weight", psi.to(layer.weight.device))
            self._steps.append((layer.parametrizations.weight.original, psi))

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """After the backward pass: what the optimizer has to be told, so that fixed weights decay by themselves, as
        (weight_decay / 2) * sum of w^2 in the loss would make them, and so that an adaptive one sees dL / dw.

        Raises:
            UserError: the optimizer is none of SGD, Adam and AdamW.
        """
        adaptive = _adaptive(optimizer)
        decays = {
            p: 0.0 if _decoupled(optimizer, group) else group["weight_decay"]
            for group in optimizer.param_groups
            for p in group["params"]
        }
        self._before = []
        with torch.no_grad():
            for v, psi in self._steps:
                if v.grad is None or v not in decays:
                    continue
                w, slope = psi(v), psi.slope(v)
                fixed = self._learn == "none"
                if adaptive:
                    v.grad.div_(slope)
                    self._before.append((v, v.detach().clone(), slope, w * slope if fixed else v.detach().clone()))
                if fixed and decays[v]:
                    v.grad.add_((w if adaptive else w * slope) - v, alpha=decays[v])

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """After the optimizer's step: an adaptive one's is scaled by dw / dv, and a learnt a and b stay positive."""
        groups = {p: g for g in optimizer.param_groups for p in g["params"]}
        with torch.no_grad():
            for v, before, slope, decay in self._before:
                if torch.equal(v, before):
                    continue  # no step was taken: half precision skips those whose gradients are no numbers
                group, move = groups[v], v - before
                rate = group["lr"] * group["weight_decay"] if _decoupled(optimizer, group) else 0.0
                move.add_(before, alpha=rate)  # without the decay
                v.copy_(before + move * slope - rate * decay)
            self._before = []
            for _, psi in self._steps:
                for value in (psi.a, psi.b):
                    if isinstance(value, Tensor):
                        value.clamp_(min=LEAST)

    def pairs(self) -> dict[str, tuple[float, float]]:
        """a and b of every layer by its name."""
        return {
            name: (_number(psi.a), _number(psi.b))
            for (name, _), (_, psi) in zip(self._layers, self._steps, strict=True)
        }

    def fold(self) -> None:
        """Makes every weight an ordinary parameter again: what it is now."""
        for (_, layer), (names, stride) in zip(self._layers, self._order, strict=True):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            held = layer.weight.data  # in an order of memory that an elementwise function may have changed
            own = torch.empty_strided(held.shape, stride, dtype=held.dtype, device=held.device)
            layer.weight.data = own.copy_(held)
            for name in names:  # "weight" comes back behind the others
                layer._parameters[name] = layer._parameters.pop(name)
        self._layers, self._order, self._steps, self._before = [], [], [], []


@dataclass
class WeightCompander(Technique):
    """Weight compander: w = a * arctan(v / b) of what is trained, for all weights of convolutions and linear layers.

    Weights stay below a * pi / 2 in size, and small ones move more than large ones: dw / dv = a / (b (1 + (v / b)^2)).
    It starts from the weights that are there, v = b * tan(w / a), so the network computes the same at first; at the end
    of the phase w is stored, and nothing of it is left. With fixed a and b the weight decay of the optimizer acts on w;
    where they are learnt, on v, and not on a and b. Adam and AdamW compute their step from dL / dw, and it is then
    multiplied by dw / dv; SGD needs no such rule; other optimizers are refused.

    Source: Cakaj, Mehnert and Yang, arXiv 2306.16993 (read in full; it reports 0.1 to 1.5 points on CIFAR for a and b
    that were searched per network, and 7 to 14 % more time; there is no official code). a and b need that search: with
    one fixed pair we saw from -1.5 to +3.5 points. What differs: a and b that are learnt are kept positive, and a
    begins higher where a layer's weights do not fit; in the retraining a fixed one too.
    """

    phases: ClassVar[tuple[str, ...]] = ("base", "retrain")
    reparametrises: ClassVar[bool] = True

    a: float | None = option(None, "The largest weight over pi / 2; none: 0.7, and 0.5 where it is learnt.", above=0)
    b: float | None = option(None, "The scale of v; none: 0.7, and 1 where it is learnt.", above=0)
    learn: Literal["none", "network", "layer"] = option("none", "Whether a and b are learnt, per network or per layer.")

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        # Before anything is trained a weight that does not fit is refused; later it may come from a repair.
        self._companded = Companded(network, self.a, self.b, self.learn, raises=scene.phase != "base")

    def after_backward(self, step: Step) -> None:
        step.unscale(step.optimizer)
        self._companded.before_step(_bare(step.optimizer))

    def after_step(self, step: Step) -> None:
        self._companded.after_step(_bare(step.optimizer))

    def record(self) -> dict[str, Any]:
        if self.learn == "none":
            return {}
        pairs = self._companded.pairs().values()
        return {"compander_a": max(a for a, _ in pairs), "compander_b": max(b for _, b in pairs)} if pairs else {}

    def finish(self, network: nn.Module) -> None:
        self._companded.fold()


def _layers(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Convolutions and linear layers that train a weight of their own, by name."""
    found = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, (_ConvNd, nn.Linear)) and isinstance(module._parameters.get("weight"), nn.Parameter)
    ]
    holders: dict[int, int] = {}
    for module in network.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                holders[id(parameter)] = holders.get(id(parameter), 0) + 1
    return ((name, module) for name, module in found if module.weight.requires_grad and holders[id(module.weight)] == 1)


def _number(value: Tensor | float) -> float:
    return value.item() if isinstance(value, Tensor) else value


def _bare(optimizer: Any) -> torch.optim.Optimizer:
    """An optimizer without what Fabric puts around it."""
    found: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return found


def _adaptive(optimizer: torch.optim.Optimizer) -> bool:
    if isinstance(optimizer, torch.optim.SGD):
        return False
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
        return True
    raise UserError(
        f"the weight compander knows SGD, Adam and AdamW, and no rule for {type(optimizer).__name__}; choose one of "
        "them, or leave it out."
    )


def _decoupled(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
    """Whether the optimizer decays weights apart from the gradient."""
    return isinstance(optimizer, torch.optim.AdamW) or bool(group.get("decoupled_weight_decay"))
