"""What a layer cannot follow, and the neurons that would help it most: statistics in, weights out.

A reader makes A = read W of what it reads. The loss would have it move by ``goal``, minus the gradient by A. What no
change of W can follow is the expressivity bottleneck. New neurons read ``inputs``, as the writer below does, and are
read beside ``read``. Taken as linear, a set of them with weights alpha and omega moves A by inputs alpha omega^T.

Source: Verbockhaven et al., Growing Tiny Networks, arXiv 2405.19816; GradMax: Evci et al., arXiv 2201.05125.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

DROPPED = 1e-5
"""Directions whose second moment is below this share of the largest are taken for rounding."""


class Bottleneck(NamedTuple):
    """What a reader cannot follow.

    Attributes:
        psi: the mean over rows of the squared length of what is left of the goal; 0 where the reader can follow it.
        delta: the change of the reader's weights that follows the goal best, (read, outputs).
        second: S, the mean of the products of all pairs of inputs, (inputs, inputs).
        cross: N, the mean of the products of inputs and what is left of the goal, (inputs, outputs).
    """

    psi: Tensor
    delta: Tensor
    second: Tensor
    cross: Tensor


class Neurons(NamedTuple):
    """New neurons, the best first.

    Attributes:
        alpha: what each reads, (neurons, inputs). omega: how it is read, (neurons, outputs).
        s: singular values, (neurons,): psi falls by the square of each. By as much falls the loss of an example, to
            first order, where the reader has learnt what it can already.
    """

    alpha: Tensor
    omega: Tensor
    s: Tensor


def bottleneck(inputs: Tensor, read: Tensor, goal: Tensor) -> Bottleneck:
    """The expressivity bottleneck of a linear reader, from rows of samples.

    Args:
        inputs: what the writer reads, B_{-2}, (rows, inputs); with a column of ones where new neurons have a bias.
        read: what the reader reads, B_{-1}, (rows, read); with a column of ones where it has a bias.
        goal: minus the gradient of the loss of each example by what the reader makes, (rows, outputs): of a loss that
            is a mean over examples, times their number.

    Examples:
        >>> inputs, goal = torch.randn(100, 5), torch.randn(100, 3)
        >>> found = bottleneck(inputs, torch.relu(inputs[:, :2]), goal)
        >>> new = neurons(found.second, found.cross, 2)
        >>> moved = inputs @ new.alpha.T @ new.omega  # by the two best new neurons, taken as linear
    """
    rows = len(goal)
    delta = best_update(read.T @ read / rows, read.T @ goal / rows)
    left = goal - read @ delta
    return Bottleneck(left.square().sum(1).mean(), delta, inputs.T @ inputs / rows, inputs.T @ left / rows)


def best_update(second: Tensor, cross: Tensor) -> Tensor:
    """The change of a reader's weights that follows its goal best, S^-1 M, the pseudo-inverse where S is singular.

    Args:
        second: S of what is read, (read, read). cross: M, the mean of the products of what is read and the goal,
            (read, outputs).
    """
    root = inverse_root(second)
    return root @ (root @ cross)


def neurons(second: Tensor, cross: Tensor, most: int, least: float = 0.0) -> Neurons:
    """The neurons that lower the bottleneck most (TINY): with P = S^-1/2 N = U diag(s) V^T, alpha_k = sqrt(s_k)
    S^-1/2 u_k and omega_k = sqrt(s_k) v_k. Then psi falls by sum s_k^2.

    Args:
        second, cross: S and N of a :class:`Bottleneck`. most: neurons. least: smaller singular values are left out.
    """
    root = inverse_root(second)
    left, values, right = torch.linalg.svd(root @ cross, full_matrices=False)
    count = min(most, int((values > least).sum()))
    scale = values[:count].sqrt()
    return Neurons((root @ left[:, :count] * scale).T, right[:count] * scale[:, None], values[:count])


def gradmax_neurons(cross: Tensor, most: int, norm: float, least: float = 0.0) -> Neurons:
    """The neurons that compute nothing and whose weights get the largest gradient (GradMax): alpha is 0, and omega are
    the singular vectors of N of the largest values.

    Args:
        cross: the mean of the products of inputs and the goal, (inputs, outputs); not what is left of the goal.
        most: neurons. norm: the length of each neuron's omega. least: smaller singular values are left out.
    """
    _, values, right = torch.linalg.svd(cross, full_matrices=False)
    count = min(most, int((values > least).sum()))
    return Neurons(cross.new_zeros(count, len(cross)), right[:count] * norm, values[:count])


def random_neurons(count: int, inputs: int, outputs: int, draw: torch.Generator) -> Neurons:
    """Neurons with random weights of the lengths that keep the variance of what passes a ReLU; s is 0. The control.

    Args:
        inputs, outputs: of a neuron. draw: on the CPU.
    """
    alpha = torch.randn(count, inputs, generator=draw) * (2 / max(inputs, 1)) ** 0.5
    omega = torch.randn(count, outputs, generator=draw) * (2 / max(count, 1)) ** 0.5
    return Neurons(alpha, omega, torch.zeros(count))


def inverse_root(second: Tensor) -> Tensor:
    """S^-1/2 of a symmetric matrix without negative eigenvalues; directions of which next to nothing is there are
    dropped (``DROPPED``)."""
    values, vectors = torch.linalg.eigh((second + second.T) / 2)
    there = values > DROPPED * values[-1].clamp(min=torch.finfo(values.dtype).tiny)
    vectors = vectors[:, there]
    root: Tensor = (vectors * values[there].rsqrt()) @ vectors.T
    return root
