"""Initialisation and learning rate by the paths of the network's graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.space.living import Living
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.running import call, evaluating
from dnal.train.batch import split
from dnal.train.loader import Loader, first_batch
from dnal.train.rows import to_device
from dnal.train.technique import Scene, Technique

LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
"""Layers with weights that a path counts."""
BASE_DEPTH, BASE_KERNEL = 3, 3
"""Of the chain whose best learning rate is known: input, one hidden and output layer; and the side of its kernels."""


class Flow(NamedTuple):
    """What is known of the paths from the input to one tensor.

    Attributes:
        moments: how many there are, and the sums of their lengths L, of L^2 and of L^3.
        terms: how many summands the tensor has, since it was last the output of a layer or normalised.
    """

    moments: tuple[float, float, float, float]
    terms: int


@dataclass
class Paths:
    """The paths of a network's graph from input to output.

    Attributes:
        count: how many. cubes: the sum of L^3 over them, L the number of convolutions and linear layers on a path.
        kernel: the largest side of a kernel; 1 without convolutions.
        terms: of each such layer, by its name, how many summands the tensor that it reads has.
        last: the name of the last layer, the read-out.
    """

    count: float
    cubes: float
    kernel: int
    terms: dict[str, int] = field(default_factory=dict)
    last: str = ""


@dataclass
class ArchitectureAwareScaling(Technique):
    """Initialisation and learning rates by the network's graph: deeper paths and more of them learn at smaller rates.

    Weights are drawn from N(0, 2 / (fan d)), d the number of terms in the sum that a layer reads, those of the
    read-out from N(0, 1 / fan^2); biases are 0. The learning rate is multiplied by sqrt(B^3 / sum_p L_p^3) 3 / q, over
    all paths p with L_p layers each and kernels of side q, so that `--lr` means that of a chain of B = 3 layers. Costs
    one forward pass. Derived for SGD and networks without batch norm; with batch norm the initial scale changes little,
    and the rate is then much smaller than usual. Source: Chen et al., arXiv 2402.17440, equations 4, 8 and 9, whose
    numbers are from the published code.
    """

    phases: ClassVar[tuple[str, ...]] = ("base",)
    turn: ClassVar[int] = 0

    weights: bool = option(True, "Whether weights are drawn again.")
    rates: bool = option(True, "Whether the learning rate is scaled.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weights and not self.rates:
            raise UserError("scaling with weights=false and rates=false does nothing; leave one of them true.")

    def data(self, loader: Loader, scene: Scene) -> Loader:
        self._loader = loader
        return loader

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        device = next(network.parameters()).device
        inputs = to_device(split(first_batch(self._loader, "training"))[0], device)
        found = paths(network, inputs)
        if self.weights:
            initialise(network, found)
        self._factor = scale_of(found) if self.rates else 1.0

    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr_scale"] = group.get("lr_scale", 1.0) * self._factor

    def record(self) -> dict[str, Any]:
        return {"lr_factor": self._factor}


def scaled_lr(
    network: nn.Module, inputs: Inputs, lr: float, *, depth: int = BASE_DEPTH, kernel: int = BASE_KERNEL
) -> float:
    """The learning rate of a network, from the best one of a small chain.

    Args:
        network: any of convolutions and linear layers. inputs: what it is called with.
        lr: that of the chain. depth: its layers, with input and output. kernel: the side of its kernels.

    Returns:
        lr sqrt(depth^3 / sum_p L_p^3), times kernel / q for convolutions of side q.

    Raises:
        UserError: no path of layers leads from the inputs to the output.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.techniques.scaling import scaled_lr
        >>> chain = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(8, 8), nn.ReLU())])
        >>> round(scaled_lr(chain, torch.randn(2, 8), 0.1) / 0.1, 3)  # sqrt(27 / 216)
        0.354

    Source: arXiv 2402.17440, equations 8 and 9.
    """
    return lr * scale_of(paths(network, inputs), depth=depth, kernel=kernel)


def scale_of(found: Paths, *, depth: int = BASE_DEPTH, kernel: int = BASE_KERNEL) -> float:
    """sqrt(depth^3 / sum_p L_p^3), times kernel / q where there are convolutions of side q."""
    return math.sqrt(depth**3 / found.cubes) * (kernel / found.kernel if found.kernel > 1 else 1.0)


@torch.no_grad()
def initialise(network: nn.Module, found: Paths) -> None:
    """Draws the weights of the convolutions and linear layers that run, in place: N(0, 2 / (fan_in d)), those of the
    read-out N(0, 1 / fan_in^2); their biases become 0. What is frozen stays as it is.

    Source: arXiv 2402.17440, equation 4; the read-out as its theory wants it, by the layer's inputs (the published code
    takes the number of classes).
    """
    for name, terms in found.terms.items():
        layer = network.get_submodule(name)
        weight = layer.weight
        assert isinstance(weight, Tensor)
        fan = _fan_in(layer)
        deviation = 1 / fan if name == found.last else math.sqrt(2 / (fan * terms))
        if weight.requires_grad:
            nn.init.normal_(weight, 0.0, deviation)
        if isinstance(layer.bias, Tensor) and layer.bias.requires_grad:
            nn.init.zeros_(layer.bias)


def _fan_in(layer: nn.Module) -> int:
    """How many products are summed for each number that a layer makes: of a transposed convolution as in torch's own
    initialisation, without its stride."""
    assert isinstance(layer.weight, Tensor)
    if not isinstance(layer, nn.modules.conv._ConvTransposeNd):
        return layer.weight[0].numel()
    return layer.in_channels // layer.groups * math.prod(layer.kernel_size)


def paths(network: nn.Module, inputs: Inputs) -> Paths:
    """The paths of a network's graph, counted in one forward pass: a sum, a product or a concatenation has the paths of
    all its parts, a convolution or linear layer adds one to each.

    Args:
        network: is run in eval mode and stays as it is. inputs: what it is called with.

    Raises:
        UserError: no path of layers leads from the inputs to the output.
    """
    counter = _Counter()
    for leaf in tree_leaves(inputs):
        if isinstance(leaf, Tensor):
            counter.put(leaf, Flow((1.0, 0.0, 0.0, 0.0), 1))
    with evaluating(network), counter.layers(network), counter:
        outputs = call(network, inputs)
    flows = [counter.get(leaf) for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    merged = _joined([flow for flow in flows if flow is not None])
    if merged is None or not merged.moments[3]:
        raise UserError("no convolution or linear layer lies between the network's inputs and its outputs.")
    return Paths(merged.moments[0], merged.moments[3], counter.kernel, counter.terms, counter.last)


def _joined(flows: list[Flow]) -> Flow | None:
    if not flows:
        return None
    moments = [sum(flow.moments[power] for flow in flows) for power in range(4)]
    return Flow((moments[0], moments[1], moments[2], moments[3]), max(flow.terms for flow in flows))


def _longer(flow: Flow) -> Flow:
    """Each path longer by one: sums of (L + 1)^k from those of L^k."""
    count, first, second, third = flow.moments
    return Flow(
        (count, first + count, second + 2 * first + count, third + 3 * second + 3 * first + count), 1,
    )  # fmt: skip


SUMS = {"add", "add_", "__add__", "__radd__", "__iadd__", "sub", "__sub__"}
NORMS = {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"}


class _Counter(TorchFunctionMode):
    """Carries the flow of every tensor through the functions that a forward pass calls."""

    def __init__(self) -> None:
        super().__init__()
        self._flows = Living[Flow]()
        self._inside = 0
        self.terms: dict[str, int] = {}
        self.last, self.kernel = "", 1

    def put(self, tensor: Tensor, flow: Flow) -> None:
        self._flows[tensor] = flow

    def get(self, tensor: Tensor) -> Flow | None:
        return self._flows.get(tensor)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._inside:
            return result
        given = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        known = [flow for leaf in given if (flow := self.get(leaf)) is not None]  # x + x has the paths of x twice
        merged, name = _joined(known), getattr(func, "__name__", "")
        if merged is None:
            return result
        if name in SUMS:
            merged = Flow(merged.moments, sum(flow.terms for flow in known))
        elif name in NORMS:
            merged = Flow(merged.moments, 1)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.put(leaf, merged)
        return result

    @contextmanager
    def layers(self, network: nn.Module) -> Iterator[None]:
        """Hooks on the layers that paths count."""
        hooks: list[Any] = []
        for name, module in network.named_modules():
            if not isinstance(module, LAYERS):
                continue
            if isinstance(module, nn.modules.conv._ConvNd):
                self.kernel = max(self.kernel, *module.kernel_size)

            def before(module: nn.Module, args: Any, named: Any) -> None:
                self._inside += 1

            def after(module: nn.Module, args: Any, named: Any, output: Tensor, name: str = name) -> None:
                self._inside -= 1
                flow = self.get(args[0] if args else named["input"])
                if flow is not None:
                    self.terms[name] = max(flow.terms, self.terms.get(name, 1))
                    self.last = name
                    self.put(output, _longer(flow))

            hooks += [
                module.register_forward_pre_hook(before, with_kwargs=True),
                module.register_forward_hook(after, with_kwargs=True),
            ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
