"""Where a network can grow: groups of channels that linear layers and convolutions write and read, and what else they
pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dnal.changes.growth import Growth
from dnal.methods.growing.columns import Layer, layer_of
from dnal.space.space import Group, Space


@dataclass
class Site:
    """A group of channels that can grow.

    Attributes:
        variables: of the Space, in their order.
        writers, readers: the layers that make and read its channels, by their paths, in the order of the network.
        positions: how many columns of each reader a channel has: 1, or those of a map that was flattened.
        norms: paths of the batch norms that its channels pass.
    """

    name: str
    variables: list[int]
    writers: dict[str, Layer] = field(default_factory=dict)
    readers: dict[str, Layer] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    norms: list[str] = field(default_factory=list)


def sites_of(network: nn.Module, space: Space) -> tuple[list[Site], dict[str, str]]:
    """The groups that can grow, and of the others by their names why they cannot, as far as the modules tell."""
    sites = {number: Site(group.name, group.variables.tolist()) for number, group in enumerate(space.groups)}
    why: dict[int, str] = {}
    group_of = torch.full((space.num_variables + 1,), -1)  # the last one stands for what is fixed
    for number, group in enumerate(space.groups):
        group_of[group.variables] = number
    parameters = dict(network.named_parameters(remove_duplicate=False))
    uses = Counter(id(parameter) for parameter in parameters.values())
    for name, dims in {**space.sources, **space.buffer_sources}.items():
        path, _, last = name.rpartition(".")
        try:
            module: nn.Module | None = network.get_submodule(path)
        except AttributeError:  # of a layer that computes its weight
            module = None
        tied = name in parameters and uses[id(parameters[name])] > 1
        for dim, ids in enumerate(dims):
            if ids is None:
                continue
            for number in group_of[ids].unique().tolist():
                if number >= 0:
                    own = ids[group_of[ids] == number]
                    reason = (
                        "its weights are used twice" if tied else _joins(sites[number], module, path, last, dim, own)
                    )
                    if reason is not None:
                        why.setdefault(number, f"{name}: {reason}")
    for number, site in sites.items():
        if not site.writers or not site.readers:
            why.setdefault(number, "no linear layer or convolution " + ("reads" if site.writers else "makes") + " it")
    able = [site for number, site in sites.items() if number not in why]
    return able, {sites[number].name: reason for number, reason in why.items()}


def growable(network: nn.Module, space: Space) -> tuple[list[Site], dict[str, str]]:
    """As :func:`sites_of`, without those whose growth would change what the network computes, which is tried."""
    sites, why = sites_of(network, space)
    if not sites or _preserved(network, space, sites):
        return sites, why
    able = [site for site in sites if _preserved(network, space, [site])]
    if able and not _preserved(network, space, able):
        able = []
    left = [site.name for site in sites if all(site is not one for one in able)]
    return able, {**why, **dict.fromkeys(left, "the network's code counts its channels in a way of its own")}


def first_only(copies: Tensor) -> Tensor:
    """The weights of a :class:`dnal.changes.Growth` of which copies give nothing."""
    weights = torch.zeros(len(copies), int(copies.max()))
    weights[:, 0] = 1
    return weights


def _preserved(network: nn.Module, space: Space, sites: Sequence[Site]) -> bool:
    copies = torch.ones(space.num_variables, dtype=torch.long)
    for site in sites:
        copies[site.variables[0]] = 2
    return Growth.of(space, copies, first_only(copies)).preserves(network)


def _joins(site: Site, module: nn.Module | None, path: str, last: str, dim: int, own: Tensor) -> str | None:
    """Notes what a tensor is to a site; else why the site cannot grow.

    Args:
        own: the variables of the site along the tensor's dimension ``dim``.
    """
    _, counts = own.unique(return_counts=True)
    if len(counts) != len(site.variables) or bool((counts != counts[0]).any()):
        return "it has some of the channels more often than others"
    if isinstance(module, _BatchNorm):
        if not module.affine or module.running_mean is None:
            return "a batch norm without weights or statistics"
        if int(counts[0]) > 1:
            return "a batch norm behind a flattened map"
        if path not in site.norms:
            site.norms.append(path)
        return None
    layer = None if module is None else layer_of(module)
    if layer is None:
        return "no linear layer, convolution without groups, or batch norm"
    several = int(counts[0]) > 1
    if dim == 0:
        if several:
            return "it makes each channel several times"
        site.writers[path] = layer
    elif last == "weight" and dim == 1:
        if several and not isinstance(module, nn.Linear):
            return "it reads each channel several times"
        site.readers[path] = layer
        site.positions[path] = int(counts[0])
    return None


def named(groups: Sequence[Group | Site | str], most: int = 3) -> str:
    """Some of their names, in a sentence."""
    names = [group if isinstance(group, str) else group.name for group in groups]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
