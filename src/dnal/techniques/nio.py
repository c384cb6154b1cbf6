"""NIO: the scale of every weight tensor chosen before training, so that the gradients of examples agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.space.surgery.inputs import batch_size
from dnal.space.surgery.running import call_with, in_eval
from dnal.train.batch import split
from dnal.train.loader import Loader, ahead, endless
from dnal.train.outputs import task_loss
from dnal.train.phase import Loss
from dnal.train.rows import of_each, to_device
from dnal.train.technique import Scene, Technique

SCALED = (nn.modules.conv._ConvNd, nn.Linear, nn.LayerNorm)
"""Layers whose tensors have scales."""
LEAST = 0.01
"""The least scale of a weight."""


class Agreement(NamedTuple):
    """How far the gradients of the chunks of a batch agree.

    Attributes:
        cosine: the mean over pairs of chunks, in [-1, 1]. norm: the mean over chunks of the gradient's.
    """

    cosine: Tensor
    norm: Tensor


@dataclass
class NIO(Technique):
    """Neural initialisation optimisation: scales of the weights are learnt before training.

    Every tensor of the convolutions, linear layers and layer norms gets one scale, alpha. Over batches split into
    chunks, gradient steps on the scales raise GradCosine, the mean cosine between the chunks' gradients, while their
    norm is at most `gamma`, and lower the norm where it is above. Then the scaled weights are trained as usual. Costs
    about 4 training steps per iteration, before the first one. Helps networks without batch norm whose default weights
    give gradients that are much too small or large; in our own measurement one global factor on all weights
    (scales=one) did the same, so compare with it. Source: Yang et al., arXiv 2210.05956, section 4 and its published
    code (target gc_gn_sqrt, as for ResNet-50 there); the control is ours.
    """

    phases: ClassVar[tuple[str, ...]] = ("base",)
    turn: ClassVar[int] = 1

    iterations: int = option(100, "Batches on which the scales are learnt.", least=1)
    chunks: int = option(4, "Parts of a batch whose gradients are compared.", least=2)
    overlap: float = option(0.2, "Share of a chunk that reaches into its neighbours.", least=0, below=1)
    gamma: float = option(10.0, "Bound of the gradient's norm.", above=0)
    rate: float = option(0.02, "Learning rate of the scales.", above=0)
    scales: Literal["tensor", "one"] = option(
        "tensor", "tensor: one scale each; one: the control, one factor on all, such that the norm is gamma."
    )

    def data(self, loader: Loader, scene: Scene) -> Loader:
        self._loader = loader
        return loader

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        device = next(network.parameters()).device
        with ahead(self._loader), torch.random.fork_rng():
            batches = (to_device(split(batch), device) for batch in endless(self._loader))
            if self.scales == "one":
                factor = scaled_as_one(network, next(batches), self.gamma, self.chunks, self.overlap, scene.loss)
                self._alphas = [factor]
                return
            learnt = learn_scales(
                network, batches, self.iterations, loss=scene.loss, gamma=self.gamma, rate=self.rate,
                chunks=self.chunks, overlap=self.overlap,
            )  # fmt: skip
            self._alphas = list(learnt.values())

    def record(self) -> dict[str, Any]:
        return {"least_scale": min(self._alphas), "largest_scale": max(self._alphas)}


def gradcosine(
    network: nn.Module, batch: Any, *, loss: Loss = task_loss, chunks: int = 4, overlap: float = 0.2
) -> Agreement:
    """GradCosine of a network on one batch, and the norm of its gradients; nothing is changed.

    Args:
        network: batch norms use the statistics of the chunk, dropout is off.
        batch: a pair (inputs, targets), or a mapping with ``labels``, of N examples along the first dimension.
        loss: (outputs, targets) -> scalar.
        chunks: D parts of the batch. overlap: the share r of a chunk that reaches into its neighbours.

    Returns:
        scalars: sum over d != e of cos(g_d, g_e) / (D^2 - D), g_d the whole gradient of the chunk's mean loss with
        respect to the weights and biases of convolutions, linear layers and layer norms; and the mean of ||g_d||.

    Raises:
        UserError: fewer examples than chunks, or nothing to take gradients of.

    Examples:
        >>> import torch
        >>> from dnal.techniques.nio import gradcosine
        >>> network, x, y = torch.nn.Linear(4, 3), torch.randn(8, 4), torch.randint(3, (8,))
        >>> bool(-1 <= gradcosine(network, (x, y)).cosine <= 1)
        True

    Source: arXiv 2210.05956, definition of GradCosine, in the batch form of its published code.
    """
    tensors = {name: tensor.detach() for name, tensor in scaled_tensors(network).items()}
    with _settled(network):
        found = _agreement(network, tensors, batch, loss, chunks, overlap, graph=False)
    return Agreement(found.cosine.detach(), found.norm.detach())


def learn_scales(
    network: nn.Module,
    batches: Iterable[Any],
    iterations: int,
    *,
    loss: Loss = task_loss,
    gamma: float = 10.0,
    rate: float = 0.02,
    chunks: int = 4,
    overlap: float = 0.2,
) -> dict[str, float]:
    """Multiplies each weight tensor of ``network``, in place, by a scale learnt as :class:`NIO` says.

    Args:
        batches: one an iteration, as :func:`gradcosine` takes them, on the network's device.
        gamma: above this norm a step lowers the norm; else it raises the cosine and the norms.
        rate: of Adam on the scales. chunks, overlap, loss: as of :func:`gradcosine`.

    Returns:
        the scales by the tensors' names; tensors of zeros have none.

    Raises:
        UserError: as :func:`gradcosine`, where the network has no second derivative, and where all weights are 0 or
            gradients are no numbers.
    """
    start = {name: tensor.detach().clone() for name, tensor in scaled_tensors(network).items()}
    start = {name: tensor for name, tensor in start.items() if bool(tensor.any())}
    if not start:
        raise UserError("all weights of the network are 0, of which there are no scales; give it other weights.")
    alphas = torch.ones(len(start), device=next(iter(start.values())).device, requires_grad=True)
    least = torch.tensor([LEAST if tensor.dim() > 1 else 0.0 for tensor in start.values()], device=alphas.device)
    steps = _Rescale(rate, least)
    with _settled(network):
        for _, batch in zip(range(iterations), batches, strict=False):
            tensors = {name: alpha * tensor for alpha, (name, tensor) in zip(alphas, start.items(), strict=True)}
            found = _agreement(network, tensors, batch, loss, chunks, overlap, graph=True)
            if not bool(torch.isfinite(found.norm)):
                raise UserError(
                    "the gradients of the network as it starts are no numbers, so that no scales can be learnt; scale "
                    "its inputs, or check its weights and its loss."
                )
            bound = bool(found.norm > gamma)
            objective = found.norm if bound else -found.cosine - chunks * found.norm
            try:
                (gradient,) = torch.autograd.grad(objective, alphas)
            except RuntimeError as error:
                raise UserError(
                    "the technique 'nio' takes second derivatives, and this network has an operation that has none "
                    f"({str(error).splitlines()[0]}); leave the technique out."
                ) from None
            steps(alphas, gradient, bound)
    with torch.no_grad():
        for alpha, (name, tensor) in zip(alphas, start.items(), strict=True):
            network.get_parameter(name).copy_(alpha * tensor)
    return dict(zip(start, alphas.tolist(), strict=True))


def scaled_as_one(
    network: nn.Module, batch: Any, norm: float, chunks: int = 4, overlap: float = 0.2, loss: Loss = task_loss
) -> float:
    """Multiplies all weight matrices and kernels by one factor, such that the mean gradient norm on the batch is as
    near to ``norm`` as factors from 1/64 to 64 bring it: the control of :class:`NIO`.

    Returns:
        the factor.
    """
    start = {name: tensor.detach() for name, tensor in scaled_tensors(network).items() if tensor.dim() > 1}

    def away(octave: float) -> float:
        tensors = {name: 2.0**octave * tensor for name, tensor in start.items()}
        value = float(_agreement(network, tensors, batch, loss, chunks, overlap, graph=False).norm)
        return abs(math.log(value / norm)) if 0 < value < math.inf else math.inf

    with _settled(network):  # below a batch norm the gradient falls as weights grow: no bisection
        coarse = min((step / 4 for step in range(-24, 25)), key=away)
        factor: float = 2.0 ** min((coarse + step / 64 for step in range(-15, 16)), key=away)
    with torch.no_grad():
        for name, tensor in start.items():
            network.get_parameter(name).copy_(factor * tensor)
    return factor


def scaled_tensors(network: nn.Module) -> dict[str, nn.Parameter]:
    """The weights and biases, by name, that have scales: those of convolutions, linear layers and layer norms; one that
    several layers share once.

    Raises:
        UserError: there are none.
    """
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for path, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False) if isinstance(module, SCALED) else ():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                found[f"{path}.{name}" if path else name] = parameter
    if not found:
        raise UserError("the network has no convolution, linear layer or layer norm that is trained: nothing to scale.")
    return found


def chunked(count: int, chunks: int, overlap: float) -> list[slice]:
    """Which of ``count`` examples make each chunk: a ``chunks``-th of them, and a share ``overlap`` more that reaches
    into the neighbours.

    Raises:
        UserError: fewer examples than chunks.
    """
    if count < chunks:
        raise UserError(f"a batch of {count} cannot be split into {chunks} chunks; enlarge the batch or lower chunks.")
    each = count // chunks
    middle = [slice(int((1 - overlap) * each * i), int((1 + overlap) * each * (i + 1))) for i in range(1, chunks - 1)]
    return [slice(0, int((1 + overlap) * each)), *middle, slice(int((1 - overlap) * each * (chunks - 1)), count)]


def agreement(gradients: Sequence[Tensor]) -> Agreement:
    """The mean cosine over pairs of gradients, and their mean norm; each of shape (P,)."""
    stacked = torch.stack(list(gradients))
    norms = stacked.norm(dim=1)
    directions = stacked / norms.clamp(min=1e-12)[:, None]
    cosines = directions @ directions.T
    count = len(stacked)
    return Agreement((cosines.sum() - cosines.diagonal().sum()) / (count * count - count), norms.mean())


def _agreement(
    network: nn.Module, tensors: dict[str, Tensor], batch: Any, loss: Loss, chunks: int, overlap: float, *, graph: bool
) -> Agreement:
    """The agreement where the network's weights are ``tensors``; those that it does not name are its own."""
    inputs, targets = split(batch)
    leaves = tensors if graph else {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    gradients = []
    size = batch_size(inputs)
    for rows in chunked(size, chunks, overlap):
        part, wanted = of_each(inputs, size, rows), of_each(targets, size, rows)
        outputs = call_with(network, {**buffers, **leaves}, part)
        found = torch.autograd.grad(
            loss(outputs, wanted), list(leaves.values()), create_graph=graph, allow_unused=True, materialize_grads=True
        )
        gradients.append(torch.cat([gradient.flatten() for gradient in found]))
    return agreement(gradients)


@contextmanager
def _settled(network: nn.Module) -> Iterator[None]:
    """In eval mode, except for batch norms, which use the statistics of their batch; as before afterwards. Attention
    takes the form that has second derivatives."""
    with in_eval(network), sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.training = True
        yield


class _Rescale:
    """Adam on the scales. The first moments of steps that lower the norm and of those that raise the cosine are apart,
    as in the published code, so that neither pulls the other's way at the bound; the second moments are one."""

    def __init__(self, rate: float, least: Tensor) -> None:
        self._rate, self._least = rate, least
        self._first = {bound: torch.zeros_like(least) for bound in (False, True)}
        self._counts = {False: 0, True: 0}
        self._second = torch.zeros_like(least)

    @torch.no_grad()
    def __call__(self, alphas: Tensor, gradient: Tensor, bound: bool) -> None:
        gradient = gradient.clamp(-1, 1)
        self._counts[bound] += 1
        own, total = self._counts[bound], sum(self._counts.values())
        self._first[bound].lerp_(gradient, 0.1)
        self._second.lerp_(gradient.square(), 0.001)
        mean, square = self._first[bound] / (1 - 0.9**own), self._second / (1 - 0.999**total)
        alphas -= self._rate * mean / (square.sqrt() + 1e-8)
        alphas.copy_(torch.maximum(alphas, self._least))
