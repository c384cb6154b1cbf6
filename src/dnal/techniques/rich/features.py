"""Rich feature construction: discovery of several features, and one network that holds all of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dnal.base.errors import UserError, described
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.inputs import batch_size as number_of
from dnal.space.surgery.running import call, in_eval
from dnal.techniques.rich.groups import balanced, groups_of, worst_group
from dnal.techniques.rich.head import last_linear, reading
from dnal.techniques.rich.penalties import likeliest, nll
from dnal.train.rows import device_of, to_device

AT_ONCE = 1024
"""Examples of which a network predicts the classes at once."""


@dataclass
class RichFeatures:
    """What :func:`rich_features` found.

    Attributes:
        network: the synthesised one, with the mean of the heads as its head: initial weights for what comes.
        path: of its head. heads: of the synthesis, one a round.
        rounds: the networks of the discovery.
        right: whether each had each example right, bool (rounds, N).
        predictions: the class that each predicted, (rounds, N).
        worst: of each round the accuracy in the worst of the groups that it was trained on; a round whose worst group
            stays low found no new feature.
    """

    network: nn.Module
    path: str
    heads: list[nn.Module]
    rounds: list[nn.Module]
    right: Tensor
    predictions: Tensor
    worst: list[float]


@dataclass(frozen=True)
class _Recipe:
    lr: float
    l2: float
    batch_size: int | None
    seed: int


def rich_features(
    make_network: Callable[[], nn.Module],
    data: tuple[Inputs, Tensor],
    rounds: int = 2,
    *,
    first: int = 51,
    steps: int = 501,
    synthesis: int = 501,
    lr: float = 5e-4,
    l2: float = 1.1e-3,
    batch_size: int | None = None,
    seed: int = 0,
) -> RichFeatures:
    """Rich feature construction: networks that each must use another feature than those before, and one that holds the
    features of all of them.

    Round 0 is plain training, on purpose short. Round k trains a new network on the worst of 2 k groups: what each
    earlier network had right, and what it had wrong; a feature that was found already cannot help with both. Then one
    network with a head per round learns to predict what each of them predicts, on a balanced draw of examples on which
    they agree and on which they do not. Its weights, with the mean of the heads, are where training for other
    environments starts (:func:`irmv1`, :func:`vrex`, :func:`spectral_decoupling`, :func:`fishr`), also frozen except
    for the head.

    Helps where an easy feature hides another one that holds more widely. Costs ``first + (rounds - 1) steps +
    synthesis`` steps on all of the data. Trained for too long, round 0 learns noisy labels by heart, and only noise
    is left to find.

    Args:
        make_network: returns a network with new weights: (N, ...) -> one logit, (N,) or (N, 1), or (N, classes). Its
            last product must be that of a linear layer.
        data: inputs, any tree of tensors of N examples, and targets (N,): classes.
        rounds: K, at least one.
        first, steps, synthesis: steps of round 0, of each later one and of the synthesis.
        lr: of Adam. l2: times the sum of the squares of all parameters, added to the loss.
        batch_size: examples of a step; None: all of them.
        seed: of weights and draws; the global random state stays as it is.

    Raises:
        UserError: no round, targets that are no classes of the network, a ``make_network`` that returns no new network
            each time, one without a last linear layer, or weights that became infinite or NaN.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from dnal.techniques import rich_features
        >>> make = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x, y = torch.randn(32, 4), torch.randint(2, (32,))
        >>> found = rich_features(make, (x, y), rounds=2, first=3, steps=3, synthesis=3)
        >>> found.path, found.right.shape
        ('2', torch.Size([2, 32]))

    Source: Zhang, Lopez-Paz and Bottou, arXiv 2203.15516, with the numbers of its published code for ColoredMNIST; its
    tables were not read. That the balanced draw is made once, and not at each step, is ours.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise UserError(f"the data of rich_features are a pair of inputs and targets, not {described(data)}.")
    inputs, targets = data
    if rounds < 1 or min(first, steps, synthesis) < 0:
        raise UserError(f"features are found in 1 round or more, of 0 steps or more, not in {rounds}.")
    if not (lr > 0 and math.isfinite(lr)) or (batch_size is not None and batch_size < 1):
        raise UserError(f"lr is a number above 0, and batch_size 1 or more or None, not {lr} and {batch_size}.")
    if not isinstance(targets, Tensor) or targets.dim() != 1 or number_of(inputs) != len(targets):
        raise UserError(f"rich features need one class per example, (N,), not {described(targets)}.")
    recipe = _Recipe(lr, l2, batch_size, seed)
    found: list[nn.Module] = []
    right = torch.empty(0, len(targets), dtype=torch.bool)
    predictions, worst = torch.empty(0, len(targets), dtype=torch.long), []
    with torch.random.fork_rng():
        for number in range(rounds):
            if number and bool(right.all()):
                warnings.warn(
                    f"round {number - 1} of rich_features has every example right: none is left that needs another "
                    "feature, and the rounds end.",
                    stacklevel=2,
                )
                break
            torch.manual_seed(seed + number)
            network = _new(make_network, found)
            if not number:
                targets = as_classes(targets, _classes(network, inputs))
            groups = groups_of(right) if number else torch.ones(1, len(targets), dtype=torch.bool)
            _discover(network, inputs, targets, groups, steps if number else first, recipe)
            prediction = predicted(network, inputs)
            hit = prediction == targets.cpu()
            found.append(network)
            right, predictions = torch.cat([right, hit[None]]), torch.cat([predictions, prediction[None]])
            worst.append(min(float(hit[group].double().mean()) for group in groups if bool(group.any())))
        torch.manual_seed(seed + rounds)
        network = _new(make_network, found)
        path = last_linear(network, to_device(picked(inputs, torch.arange(min(2, len(targets)))), device_of(network)))
        heads = [_new(make_network, [*found, network]).get_submodule(path) for _ in found]
        chosen = balanced(right, len(targets), _draw(seed))
        _synthesise(network, path, heads, inputs, predictions, chosen, synthesis, recipe)
    return RichFeatures(network, path, heads, found, right, predictions, worst)


def _new(make_network: Callable[[], nn.Module], before: Sequence[nn.Module]) -> nn.Module:
    """A network that has no weights in common with those before: of one that is trained again nothing is new."""
    if isinstance(make_network, nn.Module) or not callable(make_network):
        raise UserError(
            f"make_network is a function that returns a new network, not {described(make_network)}; write "
            "rich_features(lambda: MyNetwork(), ...)."
        )
    network = make_network()
    if not isinstance(network, nn.Module) or next(network.parameters(), None) is None:
        raise UserError(f"make_network returns a network with weights, not {described(network)}; let it return one.")
    held = {id(parameter) for other in before for parameter in other.parameters()}
    if any(id(parameter) in held for parameter in network.parameters()):
        raise UserError(
            "make_network returned the same network, or the same weights, twice; each round needs new ones: let it "
            "build the network anew each time."
        )
    return network


def _classes(network: nn.Module, inputs: Inputs) -> int:
    """How many classes a network tells apart: two by a single logit."""
    few = to_device(picked(inputs, torch.arange(min(2, number_of(inputs)))), device_of(network))
    with in_eval(network), torch.no_grad():
        logits = call(network, few)
    return 2 if logits.dim() == 1 or logits.shape[1] == 1 else int(logits.shape[1])


def as_classes(targets: Tensor, classes: int) -> Tensor:
    """The targets as whole numbers, of whatever type they are.

    Raises:
        UserError: one of them is no class.
    """
    whole = targets.long()
    wrong = (whole < 0) | (whole >= classes) | (whole != targets)
    if bool(wrong.any()):
        one = targets[wrong][0].item()
        raise UserError(f"the targets are classes from 0 to {classes - 1}, as the network has outputs, not {one:g}.")
    return whole


def _discover(network: nn.Module, inputs: Inputs, targets: Tensor, groups: Tensor, steps: int, recipe: _Recipe) -> None:
    """Trains a network on the worst of its groups, in place."""
    own = list(network.parameters())

    def loss(rows: Tensor, batch: Any) -> Tensor:
        losses = nll(call(network, batch), targets[rows].to(own[0].device))
        return worst_group(losses, groups[:, rows].to(losses.device))

    _descend(network.train(), own, loss, inputs, torch.arange(len(targets)), steps, recipe)


def _synthesise(
    network: nn.Module,
    path: str,
    heads: list[nn.Module],
    inputs: Inputs,
    predictions: Tensor,
    chosen: Tensor,
    steps: int,
    recipe: _Recipe,
) -> None:
    """Trains the network, in place, with a head per round to predict what that round predicted; then its head is their
    mean."""
    device, last = device_of(network), network.get_submodule(path)
    shared = [p for p in network.parameters() if all(p is not other for other in last.parameters())]
    own = [*shared, *(p for head in heads for p in head.to(device).parameters())]

    def loss(rows: Tensor, batch: Any) -> Tensor:
        call(network, batch)
        wanted = [prediction[rows].to(device) for prediction in predictions]
        losses = [nll(head(read[0]), own).mean() for head, own in zip(heads, wanted, strict=True)]
        return torch.stack(losses).mean()

    with reading(network, path) as read:
        _descend(network.train(), own, loss, inputs, chosen, steps, recipe)
    with torch.no_grad():
        for name, parameter in last.named_parameters():
            parameter.copy_(torch.stack([head.get_parameter(name) for head in heads]).mean(0))


def _descend(
    network: nn.Module,
    parameters: list[nn.Parameter],
    loss: Callable[[Tensor, Any], Tensor],
    inputs: Inputs,
    chosen: Tensor,
    steps: int,
    recipe: _Recipe,
) -> None:
    """Steps of Adam on a loss of (numbers of examples, their inputs), and the squares of the parameters."""
    optimizer = torch.optim.Adam(parameters, recipe.lr)
    whole = recipe.batch_size is None or recipe.batch_size >= len(chosen)
    draw, device = _draw(recipe.seed), parameters[0].device
    batch = to_device(picked(inputs, chosen), device) if whole else None
    for _ in range(steps):
        rows = chosen
        if not whole:
            rows = chosen[torch.randint(len(chosen), (recipe.batch_size or 1,), generator=draw)]
            batch = to_device(picked(inputs, rows), device)
        optimizer.zero_grad()
        squares = torch.stack([parameter.square().sum() for parameter in parameters]).sum()
        (loss(rows, batch) + recipe.l2 * squares).backward()
        optimizer.step()
    if not all(bool(parameter.isfinite().all()) for parameter in parameters):
        raise UserError("the weights became infinite or NaN; take a smaller lr, and look for NaN in the inputs.")


def picked(inputs: Inputs, rows: Tensor) -> Any:
    """The examples with these numbers."""
    return tree_map_only(Tensor, lambda tensor: tensor[rows], inputs)


def predicted(network: nn.Module, inputs: Inputs) -> Tensor:
    """The class that a network predicts of each example, (N,), in eval mode, on the CPU."""
    device, numbers = device_of(network), torch.arange(number_of(inputs))
    with in_eval(network), torch.no_grad():
        found = [likeliest(call(network, to_device(picked(inputs, rows), device))) for rows in numbers.split(AT_ONCE)]
    return torch.cat(found).cpu()


def _draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
