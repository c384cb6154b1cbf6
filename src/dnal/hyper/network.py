"""A network that predicts the weights of another one: magnitude invariant parametrizations, and the plain ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError, all_names, described
from dnal.hyper.encoding import ENCODINGS, Encoding
from dnal.hyper.initialization import SLOPE, initialize_hidden, initialize_plain, initialize_residual
from dnal.space.patterns import Patterns, check_patterns, matches, patterns
from dnal.space.surgery.running import check_changeable, copied

HIDDEN = (16, 64, 128)
"""Units of the hidden layers, as in the published code's example."""


class Hypernetwork(nn.Module):
    """Predicts tensors from inputs: fully connected, with leaky ReLU. :func:`hypernetwork` makes one for a network.

    The bias of its last layer, ``output.bias``, is what the inputs do not change: with ``residual`` the weights that
    the network had. ``requires_grad_(False)`` on it trains only what depends on the inputs.

    Args:
        values: what is predicted, by name: floating-point tensors whose shapes, types and sizes at the start are those
            of the predictions.
        inputs: the shape of each input by its name; () is a single number.
        hidden: units of the hidden layers.
        encoding: "norm" (:func:`constant_norm`), "sum" (:func:`constant_sum`) or "none".
        residual: whether predictions are added to ``values``, or made from nothing.
        spread: times the part that depends on the inputs, at the start; with 0 and ``residual`` the predictions are
            ``values``.

    Attributes:
        names: of what is predicted, in the order of its outputs.

    Raises:
        UserError: there is nothing to predict or no input, or a shape or option is none.
    """

    def __init__(
        self,
        values: Mapping[str, Tensor],
        inputs: Mapping[str, Sequence[int]],
        *,
        hidden: Sequence[int] = HIDDEN,
        encoding: Encoding = "norm",
        residual: bool = True,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        _check(values, inputs, hidden, encoding, spread)
        self.names = list(values)
        self._encoding = encoding
        self._inputs = {name: torch.Size(inputs[name]) for name in sorted(inputs)}
        self._shapes = [value.shape for value in values.values()]
        self._dtypes = [value.dtype for value in values.values()]
        first = next(iter(values.values()))
        made: dict[str, Any] = {"dtype": first.dtype, "device": first.device}
        count = sum(shape.numel() for shape in self._inputs.values())
        middle = torch.full((count,), 0.5, **made)
        widths = [ENCODINGS[encoding](middle).numel(), *hidden]
        layers = [(nn.Linear(before, after, **made), nn.LeakyReLU(SLOPE)) for before, after in pairwise(widths)]
        self.hidden = nn.Sequential(*(each for pair in layers for each in pair))
        total = sum(value.numel() for value in values.values())
        self.output = nn.utils.skip_init(nn.Linear, widths[-1], total, **made)
        initialize_hidden(self.hidden)
        if residual:
            initialize_residual(self.output, list(values.values()), spread)
        else:
            features = self.hidden(ENCODINGS[encoding](middle)).detach()
            initialize_plain(self.output, list(values.values()), features, spread)

    def forward(self, **inputs: Tensor | float) -> dict[str, Tensor]:
        """The predicted tensors by name, for ``torch.func.functional_call``.

        Args:
            inputs: each by its name, of its shape; or all with one more dimension in front, (B, ...), for as many sets
                of weights, each (B, ...), for ``torch.func.vmap``. From 0 to 1, except for the encoding "none".

        Raises:
            UserError: another name or shape.
        """
        flat = self.output(self.hidden(ENCODINGS[self._encoding](self._joined(inputs))))
        pieces = flat.split([shape.numel() for shape in self._shapes], -1)
        return {
            name: piece.reshape(*flat.shape[:-1], *shape).to(dtype)
            for name, piece, shape, dtype in zip(self.names, pieces, self._shapes, self._dtypes, strict=True)
        }

    def _joined(self, inputs: Mapping[str, Tensor | float]) -> Tensor:
        """All inputs side by side in the order of their names, (d,) or (B, d)."""
        if inputs.keys() != self._inputs.keys():
            raise UserError(
                f"this hypernetwork is conditioned on {', '.join(self._inputs)}, by name, not on "
                f"{', '.join(inputs) or 'nothing'}."
            )
        like = self.output.weight
        given = {name: torch.as_tensor(inputs[name], dtype=like.dtype, device=like.device) for name in self._inputs}
        leading = {given[name].shape[: given[name].dim() - len(shape)] for name, shape in self._inputs.items()}
        fit = all(given[name].shape[given[name].dim() - len(shape) :] == shape for name, shape in self._inputs.items())
        if not fit or len(leading) > 1 or len(next(iter(leading))) > 1:
            raise UserError(
                "the inputs are "
                + ", ".join(f"{name} {tuple(shape)}" for name, shape in self._inputs.items())
                + ", or all with the same dimension in front, not "
                + ", ".join(f"{name} {tuple(value.shape)}" for name, value in given.items())
                + "."
            )
        (front,) = leading
        joined = torch.cat([given[name].reshape(*front, -1) for name in self._inputs], -1)
        if self._encoding != "none" and not torch.compiler.is_compiling():
            inside = (joined.detach() >= 0) & (joined.detach() <= 1)  # NaN is not
            if not bool(inside.all()):
                warnings.warn(
                    "an input of the hypernetwork is below 0 or above 1, where others are encoded alike, or NaN; scale "
                    "it to that range first.",
                    stacklevel=5,
                )
        return joined


def hypernetwork(
    network: nn.Module,
    inputs: Mapping[str, Sequence[int]],
    *,
    predicted: Patterns = "*",
    hidden: Sequence[int] = HIDDEN,
    encoding: Encoding = "norm",
    residual: bool = True,
    spread: float = 1.0,
) -> Hypernetwork:
    """A hypernetwork for the parameters of a network, or for some of them.

    A plain hypernetwork passes the size of its input on: with biases of 0, h(a gamma) = a h(gamma), so that weights and
    gradients are large for one input and small for another. The magnitude invariant parametrization mends this twice:
    inputs are encoded with a constant norm, and what is predicted is added to weights that start as those of any other
    network, here ``network``'s own, new or trained. ``encoding="none", residual=False`` is the plain one, to compare
    with. The last layer has ``hidden[-1]`` times as many weights as are predicted.

    Args:
        network: stays as it is. What is not predicted of it is trained, or not, as any parameter is.
        inputs: the shape of each input by its name, such as ``{"gamma": ()}`` for a single number from 0 to 1.
        predicted: names of parameters, or of modules that hold them, as patterns ("layer4", "*.bias"); "*": all.
        hidden: units of the hidden layers.
        encoding: "norm", "sum" or "none".
        residual: whether what is predicted is added to the network's own weights.
        spread: times the part that depends on the inputs, at the start; 0 starts at the network as it is, which suits
            a trained one.

    Returns:
        called with the inputs by name, it gives {name: tensor}.

    Raises:
        UserError: a pattern that names nothing, a network without such parameters, or wrong shapes and options.

    Examples:
        >>> import dnal, torch
        >>> from torch import nn
        >>> from torch.func import functional_call
        >>> network, images = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), torch.randn(8, 64)
        >>> hyper = dnal.hyper.hypernetwork(network, inputs={"gamma": ()})
        >>> functional_call(network, hyper(gamma=0.3), (images,)).shape
        torch.Size([8, 10])
        >>> dnal.hyper.hypernetwork(network, inputs={"gamma": ()}, predicted="2").names
        ['2.weight', '2.bias']

    Source: Ortiz, Guttag and Dalca, Magnitude Invariant Parametrizations Improve Hypernetwork Learning, arXiv
    2304.07645, with its published code; its tables were not read. The scale of ``residual=False`` is ours: the
    predictions are as large as the network's own weights, in the middle of the inputs.
    """
    if not isinstance(network, nn.Module):
        raise UserError(f"a hypernetwork predicts the weights of a network, not of {described(network)}.")
    check_changeable(network)
    own = dict(network.named_parameters())
    wanted = patterns(predicted)
    if own and wanted != ("*",):
        check_patterns(own, wanted, "predicted")
    values = {name: value for name, value in own.items() if any(matches(name, pattern) for pattern in wanted)}
    return Hypernetwork(values, inputs, hidden=hidden, encoding=encoding, residual=residual, spread=spread)


def with_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """An ordinary network that has these weights: a copy, with all else as it is.

    Args:
        network: stays as it is. weights: by the names of its parameters, such as a hypernetwork predicts for one input.

    Raises:
        UserError: a name or shape that it does not have.

    Examples:
        >>> import dnal
        >>> from torch import nn
        >>> network = nn.Linear(4, 2)
        >>> hyper = dnal.hyper.hypernetwork(network, inputs={"gamma": ()})
        >>> dnal.hyper.with_weights(network, hyper(gamma=1.0))
        Linear(in_features=4, out_features=2, bias=True)
    """
    result = copied(network)
    own = dict(result.named_parameters())
    for name, value in weights.items():
        if name not in own or own[name].shape != value.shape:
            there = f"has the shape {tuple(own[name].shape)}" if name in own else "is none of this network"
            raise UserError(
                f"'{name}' {there}, and the weights have {tuple(value.shape)}; take one set for its network."
            )
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
    return result


def _check(
    values: Mapping[str, Tensor],
    inputs: Mapping[str, Sequence[int]],
    hidden: Sequence[int],
    encoding: str,
    spread: float,
) -> None:
    if not values:
        raise UserError("there is no parameter to predict; name some of the network's, or '*' for all.")
    for name, value in values.items():
        if not value.is_floating_point() or value.is_meta:
            raise UserError(f"'{name}' is {described(value)}, which cannot be predicted; leave it out of predicted.")
    if not isinstance(inputs, Mapping) or not inputs:
        raise UserError("a hypernetwork has inputs, their shapes by their names, such as {'gamma': ()}.")
    for name, shape in inputs.items():
        if not isinstance(name, str) or name == "self":  # given by keyword, beside the module itself
            raise UserError(f"an input of a hypernetwork has any name but 'self', as text, not {name!r}; rename it.")
        if not isinstance(shape, tuple | list) or not all(_is_count(size) for size in shape):
            raise UserError(f"the shape of the input '{name}' is a tuple of sizes, () for a number, not {shape!r}.")
    if not all(_is_count(units) for units in hidden):
        raise UserError(f"hidden are numbers of units, 1 or more each, not {hidden!r}.")
    if encoding not in ENCODINGS:
        raise UserError(f"unknown encoding '{encoding}'{all_names(encoding, ENCODINGS)}")
    if not 0 <= spread < float("inf"):
        raise UserError(f"spread is a number, 0 or more, not {spread!r}.")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
