"""Clients that train one function together: they share gradients, and keep their examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dnal.base.errors import UserError


class Model(Protocol):
    """A function of parameters (..., D) and inputs (..., N) -> outputs (..., K), such as a circuit or a perceptron."""

    def __call__(self, parameters: Tensor, x: Tensor, /) -> Tensor: ...


class Loss(Protocol):
    """Outputs (..., K) and targets (...) -> a number for each example (...)."""

    def __call__(self, outputs: Tensor, targets: Tensor, /) -> Tensor: ...


class Client(NamedTuple):
    """The examples of a client: inputs (B, N) and targets (B,)."""

    x: Tensor
    y: Tensor


class Trained(NamedTuple):
    """What training together came to.

    Attributes:
        parameters: (D,). shared: what the clients sent, (rounds, clients, D). losses: the mean of what the clients saw
            in each round, before its step, (rounds,).
    """

    parameters: Tensor
    shared: Tensor
    losses: Tensor


def first_squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """The square of the first output minus the target: (..., K) and (...) -> (...)."""
    return (outputs[..., 0] - targets).square()


def example_gradients(model: Model, loss: Loss, parameters: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of every example for itself, which can be differentiated by x in turn.

    Args:
        model, loss: what is trained. parameters: (D,). x: (..., N). y: (...), or what broadcasts to that.

    Returns:
        (..., D).
    """
    own = parameters.detach().expand(*x.shape[:-1], -1).clone().requires_grad_()
    losses = loss(model(own, x), y.expand(x.shape[:-1]))
    (found,) = torch.autograd.grad(losses.sum(), own, create_graph=x.requires_grad)
    return found


def federated(
    model: Model,
    loss: Loss,
    parameters: Tensor,
    clients: Sequence[Client],
    *,
    rounds: int,
    rate: float,
    batch: int | None = None,
    seed: int = 0,
) -> Trained:
    """Federated SGD: each round every client sends the mean gradient over a batch of its own examples, and the server
    steps against the mean of what came.

    Args:
        model, loss: what is trained, and how wrong it is on each example. parameters: (D,), where it starts.
        rounds: 0 or more. rate: the length of a step over the gradient. batch: examples that a client draws for a
            round; None: all. seed: of that.

    Raises:
        UserError: no clients, a client without examples, or a batch that is larger than what one has.

    Examples:
        >>> from dnal.models.quantum.circuit import Circuit
        >>> circuit, x = Circuit(layers=2), torch.linspace(0, 3, 8, dtype=torch.float64)[:, None]
        >>> clients = [Client(x[:4], torch.ones(4)), Client(x[4:], -torch.ones(4))]
        >>> found = federated(circuit, first_squared, circuit.initial(0), clients, rounds=40, rate=0.1)
        >>> found.shared.shape, bool(found.losses[-1] < 0.5 * found.losses[0])
        (torch.Size([40, 2, 12]), True)
    """
    if not clients or any(len(client.x) == 0 or len(client.x) != len(client.y) for client in clients):
        raise UserError("there is a client or more, and each has examples and as many targets.")
    if batch is not None and not 1 <= batch <= min(len(client.x) for client in clients):
        fewest = min(len(client.x) for client in clients)
        raise UserError(f"a batch is from 1 to the {fewest} examples of the client that has fewest, not {batch}.")
    draw = torch.Generator().manual_seed(seed)
    sent, losses = [], []
    for _ in range(rounds):
        own = parameters.detach().requires_grad_()
        found = []
        for client in clients:
            chosen = slice(None) if batch is None else torch.randperm(len(client.x), generator=draw)[:batch]
            found.append(loss(model(own, client.x[chosen]), client.y[chosen]).mean())
        sent.append(torch.stack([torch.autograd.grad(one, own)[0] for one in found]))
        losses.append(torch.stack(found).detach().mean())
        parameters = own.detach() - rate * sent[-1].mean(0)
    shape = (rounds, len(clients), parameters.numel())
    shared = torch.stack(sent) if sent else parameters.new_zeros(shape)
    return Trained(parameters, shared, torch.stack(losses) if losses else parameters.new_zeros(0))
