"""A network that answers to its hyperparameters, and the two losses by which both are trained."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError, all_names, described
from dnal.space.copying import deep_copy
from dnal.space.surgery.inputs import Inputs, batch_size
from dnal.space.surgery.running import call, in_eval
from dnal.techniques.stn.apart import check_apart
from dnal.techniques.stn.hyperparameters import HYPERPARAMETERS, Hyperparameter
from dnal.techniques.stn.layers import HyperDropout, HyperLayer, Now, kind_of, own, sequence_first
from dnal.train.batch import split
from dnal.train.outputs import task_loss

SCALE = 0.5
"""softplus(rho) at the start: how far an example's hyperparameters are from the current ones."""
ENTROPY = 1e-3
"""tau."""


class SelfTuning:
    """A copy of a network with layers that answer to hyperparameters, for a training loop of your own.

    Linear layers and convolutions become :class:`HyperLinear` and :class:`HyperConv`, with about twice the weights, and
    dropouts :class:`HyperDropout`; layers that share their weights, or are of other classes, stay, and so do those in
    layers of transformers whose inputs are not ``batch_first``, with a warning. Each example of a batch has
    hyperparameters of its own, l + softplus(rho) eps with eps ~ N(0, I), so that the layers learn how the best weights
    answer to l. You descend with an optimizer of :meth:`weights` on :meth:`training_loss`, some steps alone at first,
    and in turns with one of :attr:`free` and :attr:`rho` on :meth:`validation_loss`.

    Args:
        network: stays as it is, except for ``in_place``. It is called with the examples along dimension 0.
        hyperparameters: names among ``HYPERPARAMETERS`` (dropout, input-noise, jitter, cutout), or such of your own.
        scale: softplus(rho) at the start. entropy: tau, the weight of the entropy in the validation loss.
        loss: (outputs, targets) -> scalar; cross entropy by default.
        in_place: whether the layers of the network itself are exchanged, until :meth:`fold`.

    Attributes:
        network: the copy, or the network itself. hyperparameters: as objects. free: l, (H,). rho: (H,).

    Raises:
        UserError: an unknown name, a network without any such layer, dropout of one that has none; an optimizer's
            hyperparameters, such as the learning rate, cannot be tuned so. At the first training batch: an example's
            answer depends on the hyperparameters of another one, as where a layer reads sequences first.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.techniques.stn import SelfTuning
        >>> network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
        >>> tuning, batch = SelfTuning(network, ["dropout"]), (torch.randn(6, 4), torch.arange(6) % 3)
        >>> tuning.training_loss(batch).backward()    # gradients of the weights alone
        >>> tuning.validation_loss(batch).backward()  # of l and rho alone
        >>> tuning.folded()[0], round(tuning.values()["dropout"], 3)
        (Linear(in_features=4, out_features=8, bias=True), 0.05)

    Source: MacKay et al., arXiv 1903.03088, with the published code, which has the factor s; its tables are recalled.
    """

    def __init__(
        self,
        network: nn.Module,
        hyperparameters: Sequence[str | Hyperparameter],
        *,
        scale: float = SCALE,
        entropy: float = ENTROPY,
        loss: Callable[[Any, Any], Tensor] = task_loss,
        in_place: bool = False,
    ) -> None:
        self.hyperparameters = chosen(hyperparameters)
        if not (scale > 0 and math.isfinite(scale)):
            raise UserError(f"the scale of the hyperparameters' perturbation is above 0, not {scale}.")
        if in_place and kind_of(network) is not None:
            raise UserError(
                "a network that is a single layer has none that could be exchanged; wrap it in a Sequential."
            )
        self.network, self._loss, self._entropy = network if in_place else deep_copy(network), loss, entropy
        first = next(self.network.parameters(), torch.zeros(()))
        start = torch.tensor([one.free_start for one in self.hyperparameters], device=first.device)
        self.free = nn.Parameter(start)
        self.rho = nn.Parameter(torch.full_like(start, math.log(math.expm1(scale))))
        self._now = Now(self.free.detach())
        self._tunes_dropout = any(one.act is None for one in self.hyperparameters)
        self.network = self._replaced(self.network)
        self._tried = False

    def weights(self) -> list[nn.Parameter]:
        """What is trained on training data: all but l and rho."""
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def values(self) -> dict[str, float]:
        """The hyperparameters as they are now."""
        return {one.name: float(one.value(free)) for one, free in self._pairs(self.free.detach())}

    def scales(self) -> dict[str, float]:
        """How far those of an example are from them, before the bounds: softplus(rho)."""
        return {one.name: float(scale) for one, scale in self._pairs(F.softplus(self.rho.detach()))}

    def entropy(self) -> Tensor:
        """That of the perturbation: sum over h of log(softplus(rho_h) sqrt(2 pi e))."""
        return (F.softplus(self.rho) * math.sqrt(2 * math.pi * math.e)).log().sum()

    def training_loss(self, batch: Any) -> Tensor:
        """The loss of a training batch, in the network's mode, each example regularised by hyperparameters of its own,
        to which the layers answer. No gradient reaches l and rho.

        Args:
            batch: inputs (N, ...) and targets, or a mapping with ``labels``.
        """
        inputs, targets = split(batch)
        try:
            outputs = call(self.network, self.drawn(inputs))
        finally:
            self.settle()
        return self._loss(outputs, targets)

    def drawn(self, inputs: Inputs) -> Inputs:
        """Draws hyperparameters for each example, to which the layers answer until :meth:`settle`, for a forward and a
        backward pass of your own; returns the inputs, regularised by them. At first it looks whether the examples are
        told apart."""
        if not self._tried:
            check_apart(self.network, self._now, inputs)
            self._tried = True
        free = self._perturbed(batch_size(inputs)).detach()
        found = self._regularised(inputs, free)
        self._now.free = free
        return found

    def settle(self) -> None:
        """The layers answer to the current hyperparameters, and nothing is dropped."""
        self._now.free, self._now.dropout = self.free.detach(), torch.zeros((), device=self.free.device)

    def validation_loss(self, batch: Any) -> Tensor:
        """The loss of a validation batch in eval mode, without regularisation, minus tau times the entropy. Its
        gradient reaches l and rho by the layers' answers, and no weight."""
        inputs, targets = split(batch)
        with in_eval(self.network), self._frozen():
            self._now.free = self._perturbed(batch_size(inputs))
            try:
                outputs = call(self.network, inputs)
            finally:
                self.settle()
        return self._loss(outputs, targets) - self._entropy * self.entropy()

    def __call__(self, inputs: Inputs) -> Any:
        """What the network answers at the current hyperparameters, in eval mode without gradients."""
        self.settle()
        with in_eval(self.network), torch.no_grad():
            return call(self.network, inputs)

    def folded(self) -> nn.Module:
        """A plain network of the classes of the one that was given, with the weights that it has at the current
        hyperparameters; its dropouts have the tuned probability."""
        return self._fold(deep_copy(self.network)).train(self.network.training)

    def fold(self) -> nn.Module:
        """The network as :meth:`folded` makes it, in place; with ``in_place`` that is the one that was given, of the
        layers that it had. This one is done then."""
        return self._fold(self.network)

    def _fold(self, network: nn.Module) -> nn.Module:
        values = self.values()
        probability = next((values[one.name] for one in self.hyperparameters if one.act is None), None)

        def plain(module: nn.Module) -> nn.Module | None:
            if isinstance(module, HyperLayer):
                return module.fold(self.free.detach())
            return module.fold(probability) if isinstance(module, HyperDropout) else None

        return _exchanged(network, plain)

    def _pairs(self, numbers: Tensor) -> list[tuple[Hyperparameter, Tensor]]:
        return list(zip(self.hyperparameters, numbers.unbind(-1), strict=True))

    def _perturbed(self, count: int) -> Tensor:
        """l of each example, (N, H)."""
        return self.free + F.softplus(self.rho) * torch.randn(count, len(self.free), device=self.free.device)

    def _regularised(self, inputs: Inputs, free: Tensor) -> Inputs:
        """The inputs after all that acts on them, of which the first tensor is meant."""
        for one, numbers in self._pairs(free):
            if one.act is None:
                self._now.dropout = one.value(numbers)
            elif isinstance(inputs, Tensor):
                inputs = one.act(inputs, one.value(numbers))
            else:
                raise UserError(
                    f"'{one.name}' acts on one tensor of inputs, and this batch has several; tune dropout alone."
                )
        return inputs

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """No weight takes part in the gradient."""
        trained = self.weights()
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)

    def _replaced(self, network: nn.Module) -> nn.Module:
        answering, dropouts, left = 0, 0, 0

        def replace(module: nn.Module) -> nn.Module | None:
            nonlocal answering, dropouts, left
            if sequence_first(module):
                left += 1
                return module
            kind = kind_of(module)
            if kind is None or (kind is HyperDropout and not self._tunes_dropout) or not own(network, module):
                return None
            answering, dropouts = answering + (kind is not HyperDropout), dropouts + (kind is HyperDropout)
            return kind(module, self._now)

        found = _exchanged(network, replace)
        if left:
            warnings.warn(
                f"{left} {'layer' if left == 1 else 'layers'} of a transformer without batch_first=True stay as they "
                "are: in self-tuning the examples stand along dimension 0.",
                stacklevel=3,
            )
        if not answering:
            raise UserError(
                "no layer of the network can answer to hyperparameters: linear layers and convolutions do whose "
                "weights are their own."
            )
        if self._tunes_dropout and not dropouts:
            raise UserError("the network has no nn.Dropout whose probability could be tuned; add one, or leave it out.")
        return found


def _exchanged(network: nn.Module, other: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """The network with another module wherever the function returns one, in place; a module that stands in several
    places is exchanged in all of them."""
    made: dict[int, nn.Module] = {}

    def at(module: nn.Module) -> nn.Module:
        if id(module) not in made:
            found = other(module)
            if found is None:
                made[id(module)] = module
                for name, child in list(module.named_children()):
                    setattr(module, name, at(child))
            else:
                made[id(module)] = found
        return made[id(module)]

    return at(network)


def chosen(hyperparameters: Sequence[str | Hyperparameter]) -> list[Hyperparameter]:
    """Hyperparameters that were given by their names, or themselves.

    Raises:
        UserError: they are no list of such, there is none, or one stands twice.
    """
    if isinstance(hyperparameters, str) or not isinstance(hyperparameters, Iterable):
        raise UserError(f"the hyperparameters are a list, such as ['dropout'], not {hyperparameters!r}.")
    found = [_known(one) for one in hyperparameters]
    if not found or len({one.name for one in found}) < len(found):
        raise UserError("self-tuning needs a hyperparameter or more, each once.")
    return found


def _known(one: str | Hyperparameter) -> Hyperparameter:
    if isinstance(one, Hyperparameter):
        return one
    if not isinstance(one, str):
        raise UserError(f"a hyperparameter is a name or a Hyperparameter, not {described(one)}.")
    if one not in HYPERPARAMETERS:
        raise UserError(
            f"unknown hyperparameter '{one}'{all_names(one, list(HYPERPARAMETERS))} Those of an optimizer, such as the "
            "learning rate, cannot be tuned so."
        )
    return HYPERPARAMETERS[one]
