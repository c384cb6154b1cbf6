"""The matrices that a network multiplies by, with its batch norms folded into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize, prune
from torch.nn.utils.prune import BasePruningMethod

from dnal.base.errors import UserError
from dnal.space.operations import Operation
from dnal.space.space import Space
from dnal.space.surgery.bake import baked
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.running import copied

CONVOLUTIONS = ("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution")
PRODUCTS = (
    *CONVOLUTIONS,
    *("addmm", "mm", "bmm", "baddbmm", "linear", "mv", "addmv", "matmul"),
    *("mkldnn_rnn_layer", "_cudnn_rnn", "lstm", "gru", "rnn_tanh", "rnn_relu"),
)
"""Operations that multiply by a matrix."""


@dataclass(frozen=True)
class Convolved:
    """How a convolution runs: over maps of ``sizes``, with these steps; ``groups`` of channels apart."""

    sizes: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


@dataclass(frozen=True)
class Plan:
    """What is read of a network's one forward pass, and holds for every network of its shape.

    Attributes:
        weights: names of the parameters by which it multiplies, in the order of their first product.
        convolved: of those that are kernels, how they run.
        folds: of batch norms, the name of the weight before them, and the path of its layer.
        left: paths of the batch norms that do not follow a product alone.
        baked: layers that compute their weight. ran: by the name of an operation, the module that ran it first, in
            words; in the order in which they ran.
    """

    weights: tuple[str, ...]
    convolved: dict[str, Convolved]
    folds: dict[str, tuple[str, str]]
    left: tuple[str, ...]
    baked: tuple[str, ...]
    ran: Mapping[str, str]


@dataclass(frozen=True)
class Explicit:
    """A network without batch norm: a copy in eval mode, which computes the same.

    Attributes:
        network: the copy; what is left of a batch norm in it is its shift, and its scale where it could not be folded.
        plan: by which it was made.
    """

    network: nn.Module
    plan: Plan
    _held: dict[str, nn.Parameter] = field(default_factory=dict)

    @property
    def weights(self) -> list[nn.Parameter]:
        """The parameters by which it multiplies."""
        return [self._held[name] for name in self.plan.weights]

    @property
    def matrices(self) -> list[Tensor]:
        """The same as matrices (out, in), those of kernels (out, in times the kernel's size), in double precision."""
        return [weight.detach().double().flatten(1).cpu() for weight in self.weights]


def plan_of(network: nn.Module, inputs: Inputs) -> Plan:
    """Finds the matrices and batch norms of a network by the trace of its Space.

    Args:
        network: stays as it is. inputs: what it is called with.

    Raises:
        UserError: it multiplies by no parameter; or as :meth:`dnal.Space.of`.
    """
    twin = _materialised(network)
    space = Space.of(twin, inputs, probe=False)
    made, weights, convolved = _products(space.operations)
    if not weights:
        raise UserError("the network multiplies by no matrix that it has as a parameter; there is nothing to measure.")
    folds, left = _folds(space.operations, made, twin)
    modules = dict(twin.named_modules())
    ran: dict[str, str] = {}
    for operation in space.operations:
        ran.setdefault(operation.name, _said(operation.path, modules))
    return Plan(tuple(weights), convolved, folds, tuple(left), tuple(space.baked), ran)


def explicit(network: nn.Module, plan: Plan) -> Explicit:
    """A copy of the network with its batch norms folded.

    A batch norm in eval mode is a scale s = w / sqrt(v + eps) and a shift per channel. The scale goes into the rows of
    the weight before it, W <- diag(s) W, and what the bias there makes of it joins the shift.

    Args:
        network: stays as it is. plan: its own, or that of a network of the same shape.

    Raises:
        UserError: the network has other shapes than that of the plan.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.analyses.measures.explicit import explicit, plan_of
        >>> network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        >>> _ = network[1].weight.data.fill_(2), network[1].running_var.fill_(4 - 1e-5)
        >>> found = explicit(network, plan_of(network, torch.randn(2, 4)))
        >>> torch.allclose(found.weights[0], network[0].weight)  # 2 / sqrt(4) = 1
        True
    """
    twin = _materialised(network)
    if plan.baked:
        twin = baked(twin, plan.baked)
    twin.eval()
    held = dict(twin.named_parameters(remove_duplicate=False))
    missing = [name for name in plan.weights if name not in held]
    if missing:
        raise UserError(f"the network has no weight '{missing[0]}': it is another one than that which was traced.")
    scales: dict[str, Tensor] = {}
    with torch.no_grad():
        for path, module in twin.named_modules():
            if isinstance(module, _BatchNorm) and module.running_var is not None:
                scales[path] = _shifted(module)
        for path, (weight, layer) in plan.folds.items():
            _fold(twin.get_submodule(path), twin.get_submodule(layer), held[weight], scales[path])
    return Explicit(twin, plan, {name: held[name] for name in plan.weights})


def _said(path: str, modules: Mapping[str, nn.Module]) -> str:
    """A module in words: people know their modules, and not the operations that torch makes of them."""
    kind = type(modules[path]).__name__ if path in modules else "a function"
    return f"its {kind} '{path}'" if path else f"the forward pass of {kind} itself"


def _materialised(network: nn.Module) -> nn.Module:
    """A copy whose layers have the weight that torch's own utilities compute, where they do, as a parameter."""
    twin = copied(network)
    for module in twin.modules():
        if parametrize.is_parametrized(module):
            _freed(module)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, BasePruningMethod):
                prune.remove(module, hook._tensor_name)
    return twin


def _freed(module: Any) -> None:
    """Makes the tensors that a parametrised module computes its parameters, in place. torch's own removal takes them
    out of a class that the network and its copies share."""
    values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
    module.__class__ = type(module).__bases__[0]
    del module._modules["parametrizations"]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))


def _products(operations: Sequence[Operation]) -> tuple[dict[int, tuple[str, str]], list[str], dict[str, Convolved]]:
    """What each product made (number of the value -> weight and layer), the weights, and how kernels run."""
    views: dict[int, str] = {}
    made: dict[int, tuple[str, str]] = {}
    weights: list[str] = []
    convolved: dict[str, Convolved] = {}
    for operation in operations:
        own = {}
        for operand in operation.inputs:
            name = operand.parameter or views.get(operand.number)
            if name is not None:
                own[operand.number] = name
        if operation.name in PRODUCTS:
            for operand in operation.inputs:
                if operand.number in own and len(operand.shape) > 1:
                    name = own[operand.number]
                    if name not in weights:
                        weights.append(name)
                    if operation.outputs:
                        made[operation.outputs[0].number] = name, operation.path
                    if operation.name in CONVOLUTIONS and not operation.arguments[6]:
                        convolved[name] = _convolved(operation)
        elif len(operation.inputs) == 1 and own:
            (name,) = own.values()
            views.update({operand.number: name for operand in operation.outputs})
    return made, weights, convolved


def _convolved(operation: Operation) -> Convolved:
    sizes = operation.inputs[0].shape[2:]
    _, _, _, stride, _, dilation, _, _, groups = operation.arguments[:9]
    return Convolved(tuple(sizes), tuple(stride), tuple(dilation), int(groups))


def _folds(
    operations: Sequence[Operation], made: dict[int, tuple[str, str]], network: nn.Module
) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """The batch norms that alone read what a layer made, which has its outputs in the weight's rows."""
    readers: dict[int, int] = {}
    for operation in operations:
        for operand in operation.inputs:
            readers[operand.number] = readers.get(operand.number, 0) + 1
    layers = [layer for _, layer in made.values()]
    modules = dict(network.named_modules())
    norms = [operation for operation in operations if "batch_norm" in operation.name and operation.inputs]
    paths = [operation.path for operation in norms]
    folds: dict[str, tuple[str, str]] = {}
    left = []
    for operation in norms:
        number, path = operation.inputs[0].number, operation.path
        norm = modules.get(path)
        weight, layer = made.get(number, ("", ""))
        of_rows = isinstance(modules.get(layer), nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        once = layers.count(layer) == 1 and paths.count(path) == 1 and readers[number] == 1
        if isinstance(norm, _BatchNorm) and norm.running_var is not None and weight and of_rows and once:
            folds[path] = weight, layer
        elif path not in left:
            left.append(path)
    return folds, left


def _shifted(norm: _BatchNorm) -> Tensor:
    """Makes a batch norm one whose parameters are scale and shift, in place; returns the scale, (C,)."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    kind = norm.running_var.dtype
    norm.weight, norm.bias = nn.Parameter(scale.to(kind)), nn.Parameter(shift.to(kind))
    norm.running_mean.zero_()
    norm.running_var.fill_(1)
    norm.eps = 0.0
    return scale


def _fold(norm: nn.Module, layer: Any, weight: nn.Parameter, scale: Tensor) -> None:
    """Takes a scale out of a batch norm and into the weight before it, in place."""
    if weight.shape[0] != len(scale):
        raise UserError("the network has other shapes than that which was traced.")
    weight.mul_(scale.to(weight.dtype).view(-1, *[1] * (weight.dim() - 1)))
    held: Any = norm
    held.weight.fill_(1)
    if layer.bias is not None:
        held.bias.add_((layer.bias.double() * scale).to(held.bias.dtype))
        layer.bias.zero_()
