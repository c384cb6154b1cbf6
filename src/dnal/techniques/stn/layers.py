"""Layers whose weights answer to the hyperparameters, and the plain ones that they become."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.techniques.stn.hyperparameters import dropped

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
SMALL = 0.01
"""Standard deviation of V at the start."""


@dataclass
class Now:
    """What all layers of a network read: the hyperparameters without bounds, (H,) or one row for each example (N, H),
    and the probabilities of dropout, (N,).

    ``tried``: nothing is drawn, and dropout multiplies by 1 - p in any mode, to see where the probabilities go.
    """

    free: Tensor
    dropout: Tensor = field(default_factory=lambda: torch.zeros(()))
    tried: bool = False


KNOWN: Any = {getattr(Tensor, name).__get__ for name in ("dtype", "device", "shape", "ndim", "is_cuda", "layout")} | {
    Tensor.size,
    Tensor.dim,
    Tensor.numel,
    Tensor.is_floating_point,
    Tensor.is_complex,
}
"""What a network may ask of weights that differ from example to example."""


class Weights(Tensor):
    """The weights of a layer that answers, for code that asks for their type, device or shape; computing with them
    would leave the answer out, and is refused. Torch's fused layers of transformers see that it is another class, and
    call their layers instead."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in KNOWN:
            return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        raise UserError(
            "the network computes with the weights of a layer itself, and in self-tuning these differ from example to "
            "example; let it call the layer instead."
        )


class HyperLayer(nn.Module):
    """y = s (W x + b) + (V l)_w * (W' x) + (V l)_b * b', with one number of V l for each output.

    So its weights are s W + diag((V l)_w) W' and s b + (V l)_b * b': a response to l that is linear, and another one
    for each example where l is.

    Args:
        plain: whose weights W and b are. now: where l stands.
    """

    def __init__(self, plain: Any, now: Now) -> None:
        super().__init__()
        self.now, outputs = now, plain.weight.shape[0]
        place = {"device": plain.weight.device, "dtype": plain.weight.dtype}
        self.plain, self.response = plain, copy.deepcopy(plain)
        bound = 1 / math.sqrt(plain.weight[0].numel())
        for parameter in self.response.parameters():
            nn.init.uniform_(parameter, -bound, bound)
        parts = 1 if plain.bias is None else 2
        self.gates = nn.Linear(now.free.shape[-1], parts * outputs, bias=False, **place)
        nn.init.normal_(self.gates.weight, std=SMALL)
        self.scale = nn.Parameter(torch.ones((), **place))

    @property
    def weight(self) -> Tensor:
        """What other code may ask for: type, device and shape."""
        weight: Tensor = self.plain.weight
        return weight.detach().as_subclass(Weights)

    @property
    def bias(self) -> Tensor | None:
        """The same of the bias."""
        bias: Tensor | None = self.plain.bias
        return None if bias is None else bias.detach().as_subclass(Weights)

    def forward(self, x: Tensor) -> Tensor:
        gates = self.gates(self.now.free.to(self.gates.weight.dtype))
        if gates.dim() == 2:
            gates = _for_rows(gates, x)
        main, other = self.plain(x), self._without_bias(x)
        weight, *bias = (self._over(part, other) for part in gates.chunk(1 if self.plain.bias is None else 2, -1))
        answer: Tensor = self.scale * main + weight * other
        return answer + bias[0] * self._over(self.response.bias, other) if bias else answer

    def _without_bias(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _over(self, outputs: Tensor, like: Tensor) -> Tensor:
        """A number for each output, (outputs,) or (N, outputs), in the shape of an answer."""
        raise NotImplementedError

    def fold(self, free: Tensor) -> nn.Module:
        """The layer that was given, in place, with the weights that it has at l, (H,); this one is done then."""
        return self._put(self.plain, free)

    def folded(self, free: Tensor) -> nn.Module:
        """A plain layer with the weights that this one has at l, (H,)."""
        return self._put(copy.deepcopy(self.plain), free)

    @torch.no_grad()
    def _put(self, plain: Any, free: Tensor) -> nn.Module:
        weight, *bias = self.gates(free.to(self.gates.weight)).chunk(1 if plain.bias is None else 2)
        weight = weight.reshape(-1, *(1 for _ in plain.weight.shape[1:]))
        plain.weight.copy_(self.scale * self.plain.weight + weight * self.response.weight)
        if bias:
            plain.bias.copy_(self.scale * self.plain.bias + bias[0] * self.response.bias)
        found: nn.Module = plain
        return found


class HyperLinear(HyperLayer):
    """A linear layer that answers to the hyperparameters, as :class:`HyperLayer` says; inputs (N, ..., features)."""

    def _without_bias(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.response.weight)

    def _over(self, outputs: Tensor, like: Tensor) -> Tensor:
        if outputs.dim() == 1:
            return outputs
        return outputs.reshape(len(outputs), *(1 for _ in like.shape[1:-1]), -1)


class HyperConv(HyperLayer):
    """A convolution that answers to the hyperparameters, as :class:`HyperLayer` says; inputs (N, channels, ...)."""

    def _without_bias(self, x: Tensor) -> Tensor:
        response: Any = self.response
        answer: Tensor = response._conv_forward(x, response.weight, None)
        return answer

    def _over(self, outputs: Tensor, like: Tensor) -> Tensor:
        return outputs.reshape(*outputs.shape, *(1 for _ in like.shape[2:]))


class HyperDropout(nn.Module):
    """Dropout with a probability for each example.

    Args:
        plain: in whose place it stands. now: where the probabilities stand.
    """

    def __init__(self, plain: Any, now: Now) -> None:
        super().__init__()
        self.plain, self.now = plain, now

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training or self.now.tried):
            return x
        p = self.now.dropout
        p = _for_rows(p, x) if p.dim() else p.expand(len(x))
        if self.now.tried:
            return x * (1 - p).to(x.dtype).reshape(-1, *(1 for _ in x.shape[1:]))
        if isinstance(self.plain, nn.Dropout) or x.dim() < 3:
            return dropped(x, p)
        whole = torch.ones(*x.shape[:2], *(1 for _ in x.shape[2:]), dtype=x.dtype, device=x.device)
        return x * dropped(whole, p)  # whole channels

    def fold(self, p: float | None) -> nn.Module:
        """The dropout that was given, in place, with this probability; None: its own."""
        plain: Any = self.plain
        plain.p = plain.p if p is None else p
        found: nn.Module = plain
        return found


def _for_rows(numbers: Tensor, x: Tensor) -> Tensor:
    """Those of each example, (N, ...), for every row of an input that has the positions of an example one after
    another."""
    rows, examples = len(x), len(numbers)
    if rows == examples:
        return numbers
    if not examples or rows % examples:
        raise UserError(
            f"a layer reads {rows} rows in a batch of {examples} examples, which are not as many for each; in "
            "self-tuning the examples stand along dimension 0 of what a layer reads."
        )
    return numbers.repeat_interleave(rows // examples, 0)


def kind_of(module: nn.Module) -> type[nn.Module] | None:
    """What stands for a plain layer; None for all others."""
    if type(module) is nn.Linear:
        return HyperLinear
    if type(module) in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
        return HyperConv
    return HyperDropout if type(module) in DROPOUTS else None


def sequence_first(module: nn.Module) -> bool:
    """Whether it is a transformer's layer of (L, N, ...): what is in it would take places for examples."""
    layer = isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer)
    return layer and not getattr(module.self_attn, "batch_first", True)


def own(network: nn.Module, layer: nn.Module) -> bool:
    """Whether nobody else holds the weights of a layer, as with tied embeddings."""
    mine = {id(parameter) for parameter in layer.parameters(recurse=False)}
    others = (module for module in network.modules() if module is not layer)
    return all(id(p) not in mine for module in others for p in module._parameters.values() if p is not None)
