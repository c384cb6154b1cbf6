"""Physical removal: slice every tensor, then correct the sizes that the owning modules remember."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from dnal.space.copying import deep_copy
from dnal.space.fast_path import leave_it
from dnal.space.surgery.bake import DIRECTION, LENGTH, baked, normed
from dnal.space.surgery.bypass import Bypass, Gone, bypass
from dnal.space.surgery.multihead import fewer_heads
from dnal.space.surgery.norms import OpenNorm, open_norms
from dnal.space.surgery.repair import repair
from dnal.space.surgery.sizes import Change, SizeRule, changes
from dnal.space.surgery.tensors import named_tensors
from dnal.space.variables import Sources

Correction = Callable[[Any, tuple[Tensor | None, ...] | None], None]
"""Sets the sizes that a module remembers, given the kept indices of its weight."""


class Kept(dict[str, tuple[Tensor | None, ...]]):
    """What a compact network keeps: per tensor and dimension the indices that stay (sorted LongTensor), or None where
    all do; ``sizes``, the numbers of its code that change; ``baked``, the layers that become plain ones first;
    ``bypasses``, the branches that are left out; ``norms``, the calls that take means over channels of which some
    leave: what the network is compared with takes them over those that stay."""

    def __init__(
        self,
        tensors: Mapping[str, tuple[Tensor | None, ...]],
        sizes: Iterable[Change] = (),
        baked: Iterable[str] = (),
        bypasses: Iterable[Bypass] = (),
        norms: Iterable[OpenNorm] = (),
    ) -> None:
        super().__init__(tensors)
        self.sizes = list(sizes)
        self.baked = list(baked)
        self.bypasses = list(bypasses)
        self.norms = list(norms)
        self._gone = Gone(self.bypasses)

    def removes(self, path: str) -> bool:
        """Whether the module or tensor at ``path`` goes with a branch."""
        return any(True for _ in self._gone.removers(path))

    def left(self, name: str, shape: Sequence[int]) -> tuple[int, ...]:
        """The sizes of tensor ``name`` after removal, whose sizes are ``shape`` before; zeros where it goes with a
        branch."""
        if self.removes(name):
            return (0,) * len(shape)
        dims = self.get(name, (None,) * len(shape))
        return tuple(size if kept is None else len(kept) for size, kept in zip(shape, dims, strict=True))


def kept_indices(
    sources: Mapping[str, tuple[Tensor | None, ...]],
    open_variables: Tensor,
    sizes: Iterable[SizeRule] = (),
    bypasses: Iterable[Bypass] = (),
) -> Kept:
    """What stays where exactly ``open_variables`` do and the branches of ``bypasses`` are left out, whose tensors are
    not sliced any more."""
    result = Kept({}, bypasses=bypasses)
    rules = sources.norms if isinstance(sources, Sources) else ()
    result.norms = [norm for norm in open_norms(rules, open_variables) if not result.removes(norm.call.path)]
    stays = torch.cat((open_variables, open_variables.new_ones(1)))  # the last entry, index -1, is for what is fixed
    for name, dims in sources.items():
        gone = result.removes(name)
        result[name] = tuple(None if ids is None or gone else _staying(stays[ids]) for ids in dims)
    result.sizes = [change for change in changes(sizes, open_variables) if not result.removes(change.path)]
    return result


def _staying(stays: Tensor) -> Tensor | None:
    return None if bool(stays.all()) else stays.nonzero().squeeze(1)


def sliced(tensor: Tensor, kept: tuple[Tensor | None, ...]) -> Tensor:
    """The tensor restricted to the kept indices of each dimension (a copy where something leaves), in its memory
    format."""
    channels_last = tensor.dim() == 4 and not tensor.is_contiguous()
    channels_last = channels_last and tensor.is_contiguous(memory_format=torch.channels_last)
    for dim, indices in enumerate(kept):
        if indices is not None:
            tensor = tensor.index_select(dim, indices.to(tensor.device))
    return tensor.contiguous(memory_format=torch.channels_last) if channels_last else tensor


def removed(network: nn.Module, kept: Kept) -> nn.Module:
    """A deep copy of the network without the closed channels: the same classes and forward code, smaller tensors."""
    if kept.baked:
        network = baked(network, kept.baked)
    smaller: dict[int, Tensor] = {}  # as deepcopy's memo: whatever refers to a tensor, twice or outside its module,
    for name, tensor in named_tensors(network):  # refers to the smaller one in the copy
        dims = kept.get(name)
        if dims is None or all(indices is None for indices in dims) or id(tensor) in smaller:
            continue
        piece = sliced(tensor.detach(), dims)
        if isinstance(tensor, nn.Parameter):
            piece = nn.Parameter(piece, requires_grad=tensor.requires_grad)
        smaller[id(tensor)] = piece
    small = deep_copy(network, dict(smaller))
    for path, module in small.named_modules():
        weight = f"parametrizations.weight.{DIRECTION}" if normed(module) else "weight"
        _correct_sizes(module, kept.get(f"{path}.{weight}" if path else weight))
    repair(small, kept.sizes)
    for module in small.modules():
        _share_out_queries(module)
    modules = list(small.modules())
    if any(getattr(module.train, "__func__", None) is not nn.Module.train for module in modules):
        small.train()  # modules that cache tensors drop them on a change of mode
        small.train(network.training)
        for ours, original in zip(modules, network.modules(), strict=True):
            ours.training = original.training
    bypass(small, kept.bypasses)
    leave_it(small)
    return small


def _correct_sizes(module: nn.Module, kept_of_weight: tuple[Tensor | None, ...] | None) -> None:
    for correct in _corrections(type(module)):  # type: ignore[arg-type]
        correct(module, kept_of_weight)


@cache
def _corrections(kind: type) -> list[Correction]:
    """What corrects the sizes that a module of this class remembers."""
    names = [f"{known.__module__}.{known.__qualname__}" for known in kind.__mro__]
    own = [correct for known, correct in SIZES.items() if issubclass(kind, known)]
    return own + [SIZES_ELSEWHERE[name] for name in names if name in SIZES_ELSEWHERE]


def _convolution(module: Any, kept: tuple[Tensor | None, ...] | None) -> None:
    transposed = isinstance(module, _ConvTransposeNd)
    channels = kept[0] if kept is not None else None  # the outputs, of a transposed one the inputs
    if channels is not None and module.groups > 1:
        before = module.in_channels if transposed else module.out_channels
        module.groups = int((channels.cpu() // (before // module.groups)).unique().numel())
    into, out_of = (module.weight.size(0), module.weight.size(1) * module.groups)
    if transposed:
        into, out_of = module.weight.size(1) * module.groups, module.weight.size(0)
    module.out_channels, module.in_channels = into, out_of


def _linear(module: nn.Module, kept: tuple[Tensor | None, ...] | None) -> None:
    assert isinstance(module, nn.Linear)
    module.out_features, module.in_features = module.weight.shape


def _norm(module: nn.Module, kept: tuple[Tensor | None, ...] | None) -> None:
    assert isinstance(module, _NormBase)
    tensor = module.weight if module.weight is not None else module.running_mean
    if tensor is not None:
        module.num_features = tensor.numel()


def _prelu(module: nn.Module, kept: tuple[Tensor | None, ...] | None) -> None:
    assert isinstance(module, nn.PReLU)
    module.num_parameters = module.weight.numel()


def _group_norm(module: nn.Module, kept: tuple[Tensor | None, ...] | None) -> None:
    assert isinstance(module, nn.GroupNorm)
    if module.weight is not None and kept is not None and kept[0] is not None:
        per_group = module.num_channels // module.num_groups
        module.num_groups = int((kept[0].cpu() // per_group).unique().numel())
        module.num_channels = module.weight.numel()


def _recurrent(module: nn.Module, kept: tuple[Tensor | None, ...] | None) -> None:
    assert isinstance(module, nn.RNNBase)
    names = ("ih", "hh", "hr") if module.proj_size else ("ih", "hh")
    shape = {name: getattr(module, f"weight_{name}_l0").shape for name in names}
    module.input_size = shape["ih"][1]
    module.hidden_size = shape.get("hr", shape["hh"])[1]
    module.proj_size = shape["hr"][0] if module.proj_size else 0
    module.flatten_parameters()  # on a GPU they are one block of memory


def _recurrent_cell(module: nn.Module, kept: tuple[Tensor | None, ...] | None) -> None:
    assert isinstance(module, nn.RNNCellBase)
    module.input_size, module.hidden_size = module.weight_ih.size(1), module.weight_hh.size(1)


def _layer_norm(module: nn.Module, kept: tuple[Tensor | None, ...] | None) -> None:
    assert isinstance(module, (nn.LayerNorm, nn.RMSNorm))
    if module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)


def _embedding(module: nn.Module, kept: tuple[Tensor | None, ...] | None) -> None:
    assert isinstance(module, nn.Embedding)
    module.num_embeddings, module.embedding_dim = module.weight.shape


def _share_out_queries(module: Any) -> None:
    """Attention of transformers remembers how many queries share a head of keys and values; it asks for that only
    where it is given a mask, which the example inputs may not have had."""
    queries, keys = (getattr(module, name, None) for name in ("q_proj", "k_proj"))
    if hasattr(module, "num_key_value_groups") and isinstance(queries, nn.Linear) and isinstance(keys, nn.Linear):
        module.num_key_value_groups = queries.weight.size(0) // keys.weight.size(0)


SIZES: dict[type, Correction] = {
    _ConvNd: _convolution,
    nn.Linear: _linear,
    _NormBase: _norm,
    nn.PReLU: _prelu,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _layer_norm,
    nn.Embedding: _embedding,
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: _recurrent_cell,
    nn.MultiheadAttention: lambda module, kept: fewer_heads(module),
}
"""Which remembered sizes a kind of module has: to add one, write a function of (module, kept indices of its weight)."""

SIZES_ELSEWHERE: dict[str, Correction] = {
    "torchvision.ops.deform_conv.DeformConv2d": _convolution,
}
"""The same for classes of packages that take seconds to import."""


def _length_of(network: nn.Module, name: str) -> Tensor | None:
    """The lengths that the directions of weight norm are scaled by. Where a length is zero its direction stays: one of
    zeros would be no direction, and the weight no number."""
    path, _, last = name.rpartition(".")
    layer, _, of = path.rpartition(".parametrizations.")
    if last != DIRECTION or not of or not normed(network.get_submodule(layer), of):
        return None
    return network.get_parameter(f"{path}.{LENGTH}")


def zeroed(network: nn.Module, kept: Kept) -> dict[str, Tensor]:
    """The network's parameters with every slice of a closed channel, and what scales a closed branch, set to zero
    (removing nothing).

    A tied parameter stands under its first name only.
    """
    result = {}
    silent = {place for one in kept.bypasses for place in one.places}
    for name, parameter in network.named_parameters():
        value = parameter.detach()
        scale = _length_of(network, name)
        for dim, indices in enumerate(kept.get(name, ())):
            if indices is not None and (scale is None or scale.size(dim) == 1):
                gone = torch.ones(value.size(dim), dtype=torch.bool)
                gone[indices.cpu()] = False
                closed = gone.nonzero().squeeze(1).to(value.device)
                # One copy of each, however many of its dimensions have closed channels.
                value = (value.clone() if value.data_ptr() == parameter.data_ptr() else value).index_fill_(
                    dim, closed, 0
                )
        result[name] = torch.zeros_like(value) if name in silent else value
    return result
