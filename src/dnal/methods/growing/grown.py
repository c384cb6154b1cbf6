"""A network that grows: which channels it has by now, and how one with more of them is made that computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from dnal.changes.growth import Growth, grown_indices
from dnal.methods.growing.sites import first_only
from dnal.space.space import Space
from dnal.space.surgery.tensors import named_tensors

Places = tuple[Tensor, ...]
"""Indices along each dimension of a tensor."""


@dataclass(frozen=True)
class Grown:
    """A network that began as another one, and has more channels by now.

    Attributes:
        origin, space: the network as it began, and its Space. copies: how often each variable of the Space is there,
            int64 (num_variables,); those behind the first are new channels.
        network: as it is now.
    """

    origin: nn.Module
    space: Space
    copies: Tensor
    network: nn.Module

    @classmethod
    def of(cls, network: nn.Module, space: Space) -> Self:
        """A network that has not grown yet."""
        return cls(network, space, torch.ones(space.num_variables, dtype=torch.long), network)

    def outlined(self, copies: Tensor) -> Self:
        """One with so many channels whose weights are no particular ones, for those of a file or a checkpoint."""
        network = self._growth(copies).outline(self.origin)
        last = any(
            p.dim() == 4 and not p.is_contiguous() and p.is_contiguous(memory_format=torch.channels_last)
            for p in self.origin.parameters()
        )
        network.to(memory_format=torch.channels_last if last else torch.contiguous_format)
        return replace(self, copies=copies.clone(), network=network)

    @torch.no_grad()
    def wider(self, copies: Tensor) -> Self:
        """One with so many channels that computes the same: what writes the new ones and what reads them is zero, and
        batch norms pass them as they are.

        Args:
            copies: of each variable as many as there are, or more.
        """
        found = self.outlined(copies)
        before, places = dict(named_tensors(self.network)), self.places_in(found)
        for name, tensor in named_tensors(found.network):
            _put(tensor, before[name], places[name])
        for path, module in found.network.named_modules():
            if isinstance(module, _BatchNorm) and module.affine and module.running_var is not None:
                new = torch.ones(module.num_features, dtype=torch.bool)
                new[places[f"{path}.weight" if path else "weight"][0].cpu()] = False
                as_identity(module, new.nonzero().flatten(), torch.zeros(()), torch.ones(()))
        return found

    def places_in(self, wider: Grown) -> dict[str, Places]:
        """Where each tensor of this network stands in the same one of a wider one."""
        found = {}
        sources = {**self.space.sources, **self.space.buffer_sources}
        for name, tensor in named_tensors(self.network):
            dims = sources.get(name, (None,) * tensor.dim())
            found[name] = tuple(
                torch.arange(size) if ids is None else _before(ids, self.copies, wider.copies)
                for ids, size in zip(dims, tensor.shape, strict=True)
            )
        return found

    def channels(self, name: str, dim: int, variables: Tensor, since: Tensor | None = None) -> Tensor:
        """The indices of channels along a dimension of a tensor, (channels, indices of each), by variable and number of
        the copy.

        Args:
            variables: theirs, all of which the dimension has. since: of each variable of the Space the first copy that
                counts; by default all do.
        """
        ids = {**self.space.sources, **self.space.buffer_sources}[name][dim]
        assert ids is not None
        source, numbers = grown_indices(ids, self.copies)
        if source is None or numbers is None:
            source, numbers = torch.arange(len(ids)), torch.zeros(len(ids), dtype=torch.long)
        own = ids[source]
        wanted = torch.isin(own, variables)
        if since is not None:
            wanted &= numbers >= since[own.clamp(min=0)]
        at = wanted.nonzero().flatten()
        keys = own[at] * (int(self.copies.max()) + 1) + numbers[at]
        return at[keys.argsort(stable=True)].view(len(keys.unique()), -1)

    def cost(self, copies: Tensor | None = None) -> dict[str, float]:
        """What it costs, or would with other numbers of channels: parameters, and MACs of one example."""
        copies = self.copies if copies is None else copies
        own = self.space.cost_of(torch.cat([copies.double(), torch.ones(self.space.num_branches).double()]))
        return {name: own[name] for name in ("params", "macs")}

    def change(self) -> Growth:
        """What became of the network as it began, with the weights of now."""
        values = {name: tensor.detach() for name, tensor in self.network.state_dict().items()}
        return replace(self._growth(self.copies), values=values)

    @torch.no_grad()
    def carry(self, old: Optimizer, wider: Grown, new: Optimizer) -> None:
        """Gives the optimizer of a wider network the state of this one's: moments stay, and those of new weights are
        zero.

        Args:
            old: of this network's parameters. new: of the wider one's, just made.
        """
        places = self.places_in(wider)
        after = dict(wider.network.named_parameters())
        for name, parameter in self.network.named_parameters():
            if parameter not in old.state or name not in after:
                continue
            state: dict[str, Any] = {}
            for key, value in old.state[parameter].items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.dim():
                    state[key] = torch.zeros_like(after[name], dtype=value.dtype)
                    _put(state[key], value, places[name])
                else:
                    state[key] = value.clone() if isinstance(value, Tensor) else value
            new.state[after[name]] = state

    def _growth(self, copies: Tensor) -> Growth:
        return Growth.of(self.space, copies, first_only(copies))


def as_identity(norm: _BatchNorm, channels: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Makes a batch norm pass some channels as they are: statistics of mean and variance, and the weights that undo
    them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    device = norm.weight.device
    channels, mean, variance = channels.to(device), mean.to(device), variance.to(device)
    with torch.no_grad():
        norm.running_mean[channels] = mean.to(norm.running_mean)
        norm.running_var[channels] = variance.to(norm.running_var)
        norm.weight[channels] = (variance + norm.eps).sqrt().to(norm.weight)
        norm.bias[channels] = mean.to(norm.bias)


def grid(places: Places, device: torch.device) -> Places:
    """Indices of a block of a tensor."""
    many = len(places)
    return tuple(
        index.to(device).view([-1 if d == dim else 1 for d in range(many)]) for dim, index in enumerate(places)
    )


def _put(tensor: Tensor, old: Tensor, places: Places) -> None:
    """Writes a smaller tensor where it stands in a larger one, which is zero elsewhere."""
    if tensor.shape == old.shape:
        tensor.copy_(old)
        return
    tensor.zero_()
    tensor[grid(places, tensor.device)] = old.to(tensor)


def _before(ids: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The indices, where there are more copies, of what there was before."""
    source, numbers = grown_indices(ids, after)
    if source is None or numbers is None:
        return torch.arange(len(ids))
    own = ids[source]
    return ((own < 0) | (numbers < before[own.clamp(min=0)])).nonzero().flatten()


def grown_to(network: nn.Module, space: Space, state: Mapping[str, Tensor], copies: Tensor) -> Grown:
    """A network that has grown from ``network`` to so many channels, with the weights of a ``state_dict``."""
    found = Grown.of(network, space).outlined(copies)
    found.network.load_state_dict(dict(state))
    return found
