"""The path norm of a network of linear layers, ReLUs and pooling."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from dnal.base.errors import UserError, lacks_memory
from dnal.space.copying import deep_copy
from dnal.space.surgery.inputs import Inputs, at_batch
from dnal.space.surgery.running import call, in_eval
from dnal.train.outputs import logits_of

LINEAR = frozenset(
    {
        *("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution"),
        *("addmm", "mm", "bmm", "baddbmm", "linear", "mv", "addmv", "matmul"),
        *("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit", "_batch_norm_no_update"),
        *("_native_batch_norm_legit_no_training", "add", "relu", "mean", "sum", "empty", "zeros"),
        *("max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"),
        *("max_pool1d", "avg_pool1d", "mkldnn_max_pool2d", "constant_pad_nd"),
        *("t", "transpose", "permute", "view", "_unsafe_view", "reshape", "flatten", "unflatten", "clone", "copy"),
        *("squeeze", "unsqueeze", "expand", "select", "slice", "cat", "stack", "split", "split_with_sizes", "chunk"),
        *("unbind", "detach", "alias", "as_strided", "contiguous", "narrow", "channel_shuffle", "_to_copy"),
    }
)
"""Operations through which a path of a network runs: of numbers above 0 they make sums, shares or the largest one."""


def not_linear(names: Iterable[str]) -> list[str]:
    """The operations among these through which no path runs, sorted: of a network with one of them there is no path
    norm."""
    return sorted(set(names) - LINEAR)


def path_norm(network: nn.Module, inputs: Inputs) -> float:
    """The sum over all paths from an input to an output of the product of the squared weights on it.

    It is what the network, with every parameter squared, says of an input of ones, summed over its outputs. Paths also
    begin at biases. Where pooling takes a maximum, the largest path counts. Scaling a ReLU unit's inputs by a, and what
    reads it by 1 / a, changes nothing. Source: Neyshabur et al., arXiv 1506.02617; equation 44 of arXiv 1912.02178.

    Args:
        network: of linear layers, ReLUs and pooling (:func:`not_linear`), batch norms as scale and shift
            (:func:`dnal.analyses.measures.explicit.explicit`); it stays as it is. inputs: what it is called with, of
            which the shapes count.

    Raises:
        UserError: the inputs are no numbers that can be 1, or the network does not run with squared parameters.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
        >>> _ = [weight.data.fill_(2) for weight in network.parameters()]
        >>> path_norm(network, torch.randn(5, 1))  # two paths of 4 times 4
        32.0
    """
    one = at_batch(inputs, 1)
    if not all(leaf.is_floating_point() for leaf in tree_leaves(one) if isinstance(leaf, Tensor)):
        raise UserError("the path norm is of inputs that are real numbers, and these are others.")
    twin = deep_copy(network).double()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.square_()
    try:
        with in_eval(twin), torch.no_grad():
            said = logits_of(call(twin, _ones(one)))
            return float(said.sum())
    except Exception as error:  # whatever the user's forward raises of double precision
        if lacks_memory(error):
            raise
        raise UserError(f"the network does not run with squared weights ({type(error).__name__}: {error}).") from None


def _ones(inputs: Inputs) -> Inputs:
    found: Inputs = tree_map_only(Tensor, lambda leaf: torch.ones_like(leaf, dtype=torch.float64), inputs)
    return found
