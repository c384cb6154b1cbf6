"""Statistics of readers: the covariance of the channels that each reads, and how much the loss minds its outputs.

One forward pass over some batches, and for the gradients of what the readers make a forward and a backward pass over a
few: best of examples on which the network was not trained, since those that it knows by heart say little. What is kept
are sums: memory does not grow with the number of batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dnal.base.errors import UserError, described, lacks_memory, one_line
from dnal.repair.products import Constant, Product, Watch
from dnal.space.roles import Place
from dnal.space.space import Space
from dnal.space.surgery.inputs import batch_size, cloned
from dnal.space.surgery.running import call, evaluating, undisturbed
from dnal.space.surgery.tensors import held_tensors
from dnal.train.batch import split
from dnal.train.loader import Loader, ahead
from dnal.train.rows import device_of, to_device

SAMPLES = 512
"""Examples that are looked at by default."""
GRADED = 128
"""Examples, in whole batches, of which gradients are taken: a mean for each output needs fewer than a covariance."""
POSITIONS = 64
"""The most positions of one example that are looked at: neighbours say much the same."""
LONGEST = 200
"""Of what is told of a loss that fails."""
WIDEST = 4096
"""The most columns of which every pair is told apart; a wider reader behind a flatten has one covariance of its
channels for all positions, as a convolution has for those of its kernel."""

Loss = Callable[[Any, Any], Tensor]


class Moments:
    """Mean and covariance of rows, batch by batch, about the mean of each (Chan et al.): no digits are lost where a
    mean is far from zero."""

    def __init__(self) -> None:
        self.count, self.mean, self.scatter = 0, torch.empty(0), torch.empty(0)

    def add(self, rows: Tensor) -> None:
        """``rows``: (groups, rows, columns)."""
        rows = rows if rows.dtype == torch.float64 else rows.float()
        count, mean = rows.size(1), rows.mean(1)
        rows = rows - mean[:, None]
        if not self.count:
            self.mean, self.scatter = torch.zeros_like(mean), rows.new_zeros(rows.size(0), rows.size(2), rows.size(2))
        total, shift = self.count + count, mean - self.mean
        self.scatter.baddbmm_(rows.transpose(1, 2), rows)
        if self.count:
            self.scatter.addcmul_(shift[:, :, None], shift[:, None], value=self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total

    def second(self, *, about_mean: bool) -> Tensor:
        """The covariance, or the mean of the products of all pairs of columns, (groups, columns, columns)."""
        covariance = self.scatter.double() / max(self.count, 1)
        mean = self.mean.double()
        return covariance if about_mean else covariance + mean[:, :, None] * mean[:, None]


@dataclass
class Reader:
    """What was measured at one product of a reader.

    Attributes:
        ids: the variable of each column, -1 = fixed, (columns,); the same in all groups of a convolution.
        folded: columns of the weight in the order (variables, positions), where all positions share a covariance.
        constant: where the mean of what it makes is corrected, if anywhere.
        minded: G, how much the loss of an example minds an error of each output, the mean of the squared gradient times
            the number of positions, (outputs,); None where no gradient came.
    """

    product: Product
    ids: Tensor
    folded: Tensor | None = None
    constant: Constant | None = None
    moments: Moments = field(default_factory=Moments)
    minded: Tensor | None = None

    def weights(self, tensor: Tensor) -> Tensor:
        """(groups, rows, columns, kernel positions) of the parameter ``tensor``."""
        matrix = self.product.matrix(tensor)
        if self.folded is None:
            return matrix
        return matrix[:, :, self.folded.flatten()].reshape(1, matrix.size(1), *self.folded.shape)

    def put(self, tensor: Tensor, weights: Tensor) -> None:
        """Writes such weights into the parameter ``tensor``."""
        if self.folded is not None:
            matrix = weights.new_empty(1, weights.size(1), self.folded.numel(), 1)
            matrix[0, :, self.folded.flatten(), 0] = weights[0].flatten(1)
            weights = matrix
        self.product.put(tensor, weights)

    def second(self) -> Tensor:
        """What stands for S: the covariance where the mean can be corrected; else the mean has to be rebuilt too."""
        return self.moments.second(about_mean=self.constant is not None)


@dataclass
class Statistics:
    """Of all readers of a network.

    Attributes:
        readers: those that were seen.
        unseen: the places of the Space that read, and where no product was seen: of a weight that is computed, or in an
            operation of its own.
    """

    readers: list[Reader]
    unseen: set[tuple[str, int]]


def measured(
    network: nn.Module,
    space: Space,
    batches: Iterable[Any],
    loss: Loss | None = None,
    graded: Iterable[Any] | None = None,
) -> Statistics:
    """The statistics of a network's readers, in eval mode; the network, its buffers and everything random stay as they
    are.

    Args:
        batches: of inputs and targets. loss: (outputs, targets) -> a scalar, the mean over the batch, of which
            gradients are taken; without it there are none. graded: batches for the gradients; otherwise the first ones.

    Raises:
        UserError: there is no batch.
    """
    collected, first = _Collected(space), list[Any]()
    watch = Watch(network, space.readers, collected.read, lambda product, gradients: None)
    examples = 0
    for batch in batches:
        if examples < GRADED:
            first.append(batch)
        inputs, _ = to_device(split(batch), device_of(network))
        watch.examples = collected.examples = batch_size(inputs)
        examples += watch.examples
        with undisturbed(inputs), evaluating(network), kept_buffers(network), watch:
            call(network, cloned(inputs))
        watch.forget()
        watch.follow = False
    _check_any(examples)
    minded = (
        {} if loss is None else minds_of_products(network, space.readers, first if graded is None else graded, loss)
    )
    for product, reader in collected.readers.items():
        reader.constant, reader.minded = watch.constants.get(product), minded.get(product)
    seen = {product.place for product in collected.readers}
    return Statistics(list(collected.readers.values()), set(space.readers) - seen)


@dataclass(frozen=True)
class Ahead:
    """The next ``samples`` examples of a loader in whole batches, or as many as an epoch has: the same ones however
    often they are gone through, and afterwards the loader and everything random are as they were."""

    loader: Loader
    samples: int

    def __iter__(self) -> Iterator[Any]:
        seen = 0
        with ahead(self.loader) as batches:
            for batch in batches:
                yield batch
                seen += batch_size(split(batch)[0])
                if seen >= self.samples:
                    return


def _with_gradients(network: nn.Module, inputs: Any, targets: Any, loss: Loss, watch: Watch, asked: set[str]) -> None:
    """A forward and a backward pass to the inputs and to the parameters ``asked`` for, on whose way are the gradients
    by what readers make. Every parameter takes part, as in training: products with those that do not run otherwise, and
    in some layers slower."""
    inputs = cloned(inputs)
    leaves = [tensor for tensor in held_tensors(inputs) if tensor.is_floating_point()]
    own = dict(network.named_parameters())
    before = [(parameter, parameter.requires_grad) for parameter in own.values()]
    try:
        for tensor in (*own.values(), *leaves):
            if tensor.is_floating_point():
                tensor.requires_grad_()
        with torch.enable_grad(), watch:
            outputs = call(network, tree_map_only(Tensor, torch.clone, inputs))  # which it may change in place
            value = loss_in_eval(outputs, targets, loss)
            watch.forget()
            watch.backward = True
            torch.autograd.grad(value, [*leaves, *(own[name] for name in sorted(asked))], allow_unused=True)
    finally:
        watch.backward = False
        for parameter, required in before:
            parameter.requires_grad_(required)


class LossUnknown(UserError):
    """There is no loss of what the network makes in eval mode."""


def loss_in_eval(outputs: Any, targets: Any, loss: Loss) -> Tensor:
    """The loss, a number with a gradient.

    Raises:
        LossUnknown: there is none.
    """
    try:
        value = loss(outputs, targets)
    except Exception as error:  # whatever a loss of the user's raises for the outputs of another mode
        if lacks_memory(error):
            raise
        raise _unknown(f"it fails: {type(error).__name__}: {error}") from error
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise _unknown(f"it is {described(value)}, and no number with a gradient")
    return value


def _unknown(what: str) -> LossUnknown:
    return LossUnknown(
        "gradients are taken of the loss of what the network makes in eval mode, and "
        f"{one_line(what, LONGEST)}; give a loss that takes both modes, or choose a method that needs none "
        "(dnal:curves_to=none)."
    )


def _asked(network: nn.Module, places: Sequence[Place]) -> tuple[set[str], set[str]]:
    """The parameters whose gradients are asked for so that those by what readers make come along. First those that cost
    little: biases, norms and embeddings. Then, where these do not lead to all readers, what does not read; the readers'
    own weights, which cost as much again, never are."""
    embeddings = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    reading = {name for name, _ in places}
    own = {name: p for name, p in network.named_parameters() if p.is_floating_point()}
    cheap = {name for name, p in own.items() if p.dim() < 2 or id(p) in embeddings}
    return cheap, cheap | {name for name in own if name not in reading}


def picked_rows(channels: Tensor, examples: int) -> Tensor:
    """What is read, (groups, N, positions, columns), as rows, (groups, rows, columns), of some of the positions."""
    chunks, positions = channels.shape[1:3]
    most = POSITIONS * examples // chunks  # where the rows are not told apart by examples, of all of them
    if positions > most:
        channels = channels[:, :, torch.arange(most, device=channels.device) * positions // most]
    return channels.detach().flatten(1, 2)


def minds_of_products(
    network: nn.Module, places: Sequence[Place], batches: Iterable[Any], loss: Loss
) -> dict[Product, Tensor]:
    """G of all products at some places, whether their channels may leave or not: how much the loss of an example minds
    an error of each output, (outputs,).

    Raises:
        UserError: there is no batch.
    """
    squares, read = dict[Product, Tensor](), set[Product]()
    few, more = _asked(network, places)
    graded = 0

    def written(product: Product, gradients: Tensor) -> None:
        own = gradients.detach().flatten(0, -2).double().square().sum(0) * watch.examples**2
        squares[product] = squares[product] + own if product in squares else own

    watch = Watch(network, places, lambda product, channels: read.add(product), written)
    watch.follow = False
    for batch in batches:
        inputs, targets = to_device(split(batch), device_of(network))
        watch.examples = batch_size(inputs)
        with undisturbed(inputs), evaluating(network), kept_buffers(network):
            _with_gradients(network, inputs, targets, loss, watch, few)
            if not graded and read - set(squares):
                squares.clear()
                few = more
                _with_gradients(network, inputs, targets, loss, watch, few)
        graded += watch.examples
        if graded >= GRADED:
            break
    _check_any(graded)
    return {product: own / graded for product, own in squares.items()}


def _check_any(examples: int) -> None:
    if not examples:
        raise UserError("there is no batch to measure what the layers read; give one or more.")


class _Collected:
    """What a watch tells, summed up; ``examples``: of the batch."""

    def __init__(self, space: Space) -> None:
        self.readers: dict[Product, Reader] = {}
        self.examples = 1
        self._space, self._unfit = space, set[Product]()

    def read(self, product: Product, channels: Tensor) -> None:
        """``channels``: (groups, N, positions, columns)."""
        reader = self.readers.get(product) or self._new(product, channels)
        if reader is None:
            return
        rows = picked_rows(channels, self.examples)
        if reader.folded is not None:
            rows = rows[:, :, reader.folded].transpose(2, 3).flatten(1, 2)
        reader.moments.add(rows)

    def _new(self, product: Product, channels: Tensor) -> Reader | None:
        reader = None if product in self._unfit else _reader(self._space, product, channels.size(-1), channels.device)
        if reader is None:
            self._unfit.add(product)
        else:
            self.readers[product] = reader
        return reader


def _reader(space: Space, product: Product, columns: int, device: torch.device) -> Reader | None:
    """A reader about which nothing is known yet; None for one that is too wide."""
    name, dim = product.place
    own = {**space.sources, **space.buffer_sources}[name][dim]
    assert own is not None
    ids = own[product.first : product.first + columns].to(device)
    if columns <= WIDEST:
        return Reader(product, ids)
    variables, counts = ids.unique(return_counts=True)
    if product.groups or bool((counts != counts[0]).any()) or len(variables) > WIDEST or int(variables[0]) < 0:
        return None
    return Reader(product, variables, ids.argsort(stable=True).view(len(variables), -1))


@contextmanager
def kept_buffers(network: nn.Module) -> Iterator[None]:
    """Puts back what a forward pass in eval mode changes of a network all the same."""
    before = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
