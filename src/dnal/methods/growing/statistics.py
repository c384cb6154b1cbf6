"""What new neurons are made of: TINY's statistics of all sites of a network, summed over batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dnal.methods.growing.closed_form import best_update
from dnal.methods.growing.columns import Layer, picked, read_map
from dnal.methods.growing.sites import Site
from dnal.repair.statistics import kept_buffers, loss_in_eval
from dnal.space.surgery.inputs import batch_size, cloned
from dnal.space.surgery.running import call, evaluating, undisturbed
from dnal.train.batch import split
from dnal.train.rows import device_of, to_device

Loss = Callable[[Any, Any], Tensor]

WRITERS = 3
"""Of a stream with many writers, so many are looked at."""
WIDEST = 4096
"""The most columns of a layer of which every pair is told apart."""


class Seen(NamedTuple):
    """A layer in one batch.

    Attributes:
        order: of the calls. read: what it read, as a map. goal: minus the gradient of the loss of each example by what
            it made, (N, outputs, positions).
    """

    order: int
    read: Tensor
    goal: Tensor


@dataclass
class Pairing:
    """A site, one of its writers, and the readers behind it.

    Attributes:
        second: S of what the writer reads, summed. rows: of the sums. cross: of each reader N, (inputs, outputs, kernel
            positions), summed; ``seen``: of how many rows; ``weight``: the root of its positions in an example.
    """

    site: Site
    writer: str
    readers: list[str]
    second: Tensor | None = None
    rows: int = 0
    cross: dict[str, Tensor] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    weight: dict[str, float] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Columns of a new neuron."""
        assert self.second is not None
        return len(self.second)

    def sums(self, *, whole: bool = False) -> tuple[Tensor, Tensor]:
        """S, and N of all readers side by side, each times the root of its positions, so that the squares of singular
        values are of an example; with ``whole`` times its positions, minus the gradient by what new neurons read where
        they are read by one."""
        assert self.second is not None
        power = 2 if whole else 1
        parts = [self.weight[name] ** power * self.cross[name].flatten(1) / self.seen[name] for name in self.readers]
        return self.second / self.rows, torch.cat(parts, 1)

    def apart(self, omega: Tensor, *, whole: bool = False) -> dict[str, Tensor]:
        """The weights of new neurons for each reader, (neurons, outputs, kernel positions), of those for all readers as
        :meth:`sums` has them."""
        shapes = [self.cross[name].shape[1:] for name in self.readers]
        parts = omega.split([shape.numel() for shape in shapes], 1)
        return {
            name: part.unflatten(1, shape) / (1 if whole else self.weight[name])
            for name, part, shape in zip(self.readers, parts, shapes, strict=True)
        }


@dataclass
class Statistics:
    """Of all sites.

    Attributes:
        pairings: of the sites of which something was seen, one for each writer that was looked at.
        psi: of each reader, of an example. unseen: names of the sites whose layers did not run once each, or of which
            sizes do not tell what lies between writer and reader.
    """

    pairings: list[Pairing]
    psi: dict[str, float]
    unseen: list[str]


def measured(
    network: nn.Module, sites: Sequence[Site], batches: Iterable[Any], loss: Loss, *, project: bool = True
) -> Statistics:
    """The statistics of sites, in eval mode; the network, its buffers and everything random stay as they are.

    Args:
        batches: of inputs and targets; they are gone through twice. loss: (outputs, targets) -> the mean over a batch.
        project: take from the goal what the readers' own weights can follow.
    """
    batches = list(batches)
    layers = {path: layer for site in sites for path, layer in [*site.writers.items(), *site.readers.items()]}
    readers = {path: layer for site in sites for path, layer in site.readers.items()}
    updates = _updates(network, layers, readers, batches, loss) if project else {}
    found: dict[int, list[Pairing]] = {}
    unseen: set[int] = set()
    psi: dict[str, float] = dict.fromkeys(readers, 0.0)
    examples = 0
    for seen, count in _passes(network, layers, batches, loss):
        examples += count
        left = {}
        for path, layer in readers.items():
            if path in seen:
                goal = seen[path].goal
                at = picked(goal.size(2)).to(goal.device)
                share, goal = goal.size(2) / len(at), goal[:, :, at]
                if path in updates:
                    columns = layer.columns(seen[path].read)[:, :, at]
                    goal = goal - torch.einsum("ndl,do->nol", columns, updates[path].to(goal))
                left[path] = goal
                psi[path] += share * float(goal.double().square().sum())
        for number, site in enumerate(sites):
            if number in unseen:
                continue
            if number not in found:
                found[number] = _pairings(site, seen)
            if not found[number] or not all(_add(pairing, layers, seen, left) for pairing in found[number]):
                unseen.add(number)
    return Statistics(
        [pairing for number, own in found.items() if number not in unseen for pairing in own],
        {path: value / max(examples, 1) for path, value in psi.items()},
        [sites[number].name for number in sorted(unseen)],
    )


def _pairings(site: Site, seen: dict[str, Seen]) -> list[Pairing]:
    """The writers of a site that are looked at, with the readers that run behind each."""
    if not all(path in seen for path in [*site.writers, *site.readers]):
        return []
    found = []
    for writer in sorted(site.writers, key=lambda path: seen[path].order):
        behind = [path for path in site.readers if seen[path].order > seen[writer].order]
        if behind:
            found.append(Pairing(site, writer, behind))
    most = min(len(found), WRITERS)
    return [found[number * (len(found) - 1) // max(most - 1, 1)] for number in range(most)]


def _add(pairing: Pairing, layers: dict[str, Layer], seen: dict[str, Seen], left: dict[str, Tensor]) -> bool:
    """Adds a batch to the sums; False where they cannot be made.

    Args:
        left: of each reader what is left of the goal, (N, outputs, picked positions).
    """
    writer, (_, read, _) = layers[pairing.writer], seen[pairing.writer]
    columns, made = writer.columns(read), writer.size(read)
    if columns.size(1) > WIDEST:
        return False
    for number, path in enumerate(pairing.readers):
        reader, own = layers[path], seen[path].read
        positions = pairing.site.positions[path]
        maps = read_map(columns, made, reader, own, positions)
        if maps is None:
            return False
        sides = (maps.size(2), maps.size(3))
        every = seen[path].goal.size(2)
        several = torch.arange(positions)[None]
        index = several if positions > 1 else reader.taps(sides, picked(every), reader.size(own)[1])
        flat = maps.flatten(2)
        if number == 0:
            rows = flat[:, :, picked(flat.size(2)).to(flat.device)].transpose(0, 1).flatten(1)
            second = (rows @ rows.T).double()
            pairing.second = second if pairing.second is None else pairing.second + second
            pairing.rows += rows.size(1)
        flat = torch.cat([flat, flat.new_zeros(flat.size(0), flat.size(1), 1)], 2)  # outside of the map
        goal = left[path].transpose(0, 1).flatten(1)  # (outputs, rows)
        parts = [flat[:, :, tap.to(flat.device)].transpose(0, 1).flatten(1) @ goal.T for tap in index.T]
        cross = torch.stack(parts, 2).double()
        pairing.cross[path] = pairing.cross.get(path, 0) + cross
        pairing.seen[path] = pairing.seen.get(path, 0) + goal.size(1)
        pairing.weight[path] = float(every) ** 0.5
    return True


def _updates(
    network: nn.Module, layers: dict[str, Layer], readers: dict[str, Layer], batches: list[Any], loss: Loss
) -> dict[str, Tensor]:
    """Of each reader the change of its weights that follows the goal best, (columns, outputs)."""
    second: dict[str, Tensor] = {}
    cross: dict[str, Tensor] = {}
    for seen, _ in _passes(network, layers, batches, loss):
        for path, layer in readers.items():
            if path not in seen:
                continue
            at = picked(seen[path].goal.size(2)).to(seen[path].goal.device)
            columns = layer.columns(seen[path].read)[:, :, at].transpose(0, 1).flatten(1)
            if len(columns) > WIDEST:
                continue
            goal = seen[path].goal[:, :, at].transpose(0, 1).flatten(1)
            second[path] = second.get(path, 0) + (columns @ columns.T).double()
            cross[path] = cross.get(path, 0) + (columns @ goal.T).double()
    return {path: best_update(second[path], cross[path]) for path in second}


def _passes(
    network: nn.Module, layers: dict[str, Layer], batches: Iterable[Any], loss: Loss
) -> Iterable[tuple[dict[str, Seen], int]]:
    """Of each batch the layers that ran once, and the number of its examples."""
    device = device_of(network)
    for batch in batches:
        inputs, targets = to_device(split(batch), device)
        examples = batch_size(inputs)
        with undisturbed(inputs), evaluating(network), kept_buffers(network), torch.enable_grad():
            yield _observed(network, layers, inputs, targets, loss, examples), examples


def _observed(
    network: nn.Module, layers: dict[str, Layer], inputs: Any, targets: Any, loss: Loss, examples: int
) -> dict[str, Seen]:
    """A forward and a backward pass."""
    calls: dict[str, list[tuple[int, Tensor | None, Tensor]]] = {path: [] for path in layers}
    order = 0

    def watching(path: str) -> Callable[..., Tensor]:
        def hook(module: nn.Module, given: tuple[Any, ...], made: Tensor) -> Tensor:
            nonlocal order
            order += 1
            made = made if made.requires_grad else made.detach().requires_grad_()
            calls[path].append((order, given[0].detach().clone() if given else None, made))
            return made.clone()  # which may be changed in place

        return hook

    handles = [network.get_submodule(path).register_forward_hook(watching(path)) for path in layers]
    try:
        value = loss_in_eval(call(network, cloned(inputs)), targets, loss)
    finally:
        for handle in handles:
            handle.remove()
    once = {path: own[0] for path, own in calls.items() if len(own) == 1 and own[0][1] is not None}
    if not once:
        return {}
    gradients = torch.autograd.grad(value, [made for _, _, made in once.values()], allow_unused=True)
    found = {}
    for (path, (number, read, made)), gradient in zip(once.items(), gradients, strict=True):
        assert read is not None
        gradient = torch.zeros_like(made) if gradient is None else gradient
        layer = layers[path]
        read_as, goal = layer.map_of(read, examples), layer.map_of(-examples * gradient.detach(), examples)
        if read_as is not None and goal is not None and read_as.size(0) == examples:
            found[path] = Seen(number, read_as.float(), goal.flatten(2).float())
    return found
