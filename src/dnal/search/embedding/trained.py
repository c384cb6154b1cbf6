"""The embedding, trained once and kept: safetensors and JSON in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dnal.base.atomic import refusal, write_text
from dnal.base.errors import UserError
from dnal.base.options import Options, option, values_of
from dnal.base.reading import content, json_of
from dnal.latency.cache import directory
from dnal.models.weights import load_weights
from dnal.run.files import write_tensors
from dnal.search.embedding.autoencoder import Autoencoder
from dnal.search.embedding.mlps import MLPs, drawn, points
from dnal.search.training import one_thread
from dnal.train.schedule import cosine

RATE, WARMUP = 1e-3, 0.02
"""Of Adam: its peak, and the share of the steps in which it rises."""
BATCH, POINTS = 64, 128
"""Networks in a step, and points on which their functions are compared."""
HELD_OUT = 256
"""Networks on which the embedding is measured, that no step saw."""
LARGEST, LARGEST_TENSORS = 2**16, 2**28
"""Bytes of the two files."""
TRAIN = "dnal search --space {space} --train-embedding"


@dataclass(frozen=True)
class MLPSpace(Options):
    """Multilayer perceptrons for tables, as points of an embedding in which gradient descent finds one.

    The embedding is trained once, without data, on networks drawn by lot. Each descent chooses neurons, their
    activations and weights at once: a point is decoded into a network, whose loss on the training data moves the point.
    Towards the end every choice becomes a hard one, and what is left out is left out.

    Source: D. Huang, M. Montazerin and A. Srivastava, Simultaneous Weight and Architecture Optimization for Neural
    Networks, arXiv 2410.08339; SWAT-NN, arXiv 2506.08270, whose published code was read.
    """

    width: int = option(10, "Neurons of a layer, at most; and columns of a table.", least=2, most=64)
    depth: int = option(3, "Hidden layers, at most.", least=1, most=8)
    features: int = option(64, "Numbers of a row of the embedding; a multiple of 4.", least=4, most=1024)
    training: int = option(20_000, "Steps in which the embedding is trained.", least=1, most=10**8)
    steps: int = option(3000, "Steps of a descent.", least=8, most=10**7)
    sparsity: float = option(1.0, "What weights and neurons cost, in multiples of the published.", least=0, most=1e6)

    @property
    def text(self) -> str:
        """It, as ``--space`` takes it."""
        said = [f"{name}={value}" for name, value in values_of(self).items() if value != values_of(MLPSpace())[name]]
        return ":".join(["mlp", ",".join(said)]) if said else "mlp"


def embedding_options(space: MLPSpace) -> dict[str, int]:
    """Those options by which an embedding is told from another one."""
    return {name: values_of(space)[name] for name in ("width", "depth", "features", "training")}


def place_of(space: MLPSpace) -> Path:
    """The file of tensors of an embedding; a .json of the same name says what it is."""
    named = "-".join(f"{name[0]}{value}" for name, value in embedding_options(space).items())
    return directory() / "embedding" / f"mlp-{named}.safetensors"


def train_embedding(
    space: MLPSpace, *, seed: int = 0, told: Callable[[int, float], None] = lambda step, loss: None
) -> Autoencoder:
    """Trains an embedding on networks drawn by lot, without any data, on one thread.

    Args:
        told: called with the step and the mean loss since the last call, twenty times.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = Autoencoder(space.width, space.depth, space.features)
        optimizer = torch.optim.Adam(found.parameters(), lr=RATE)
        draw = torch.Generator().manual_seed(seed)
        every, total = max(1, space.training // 20), 0.0
        for step in range(space.training):
            optimizer.param_groups[0]["lr"] = cosine(step / space.training, RATE, WARMUP)
            depth = int(torch.randint(space.depth, (), generator=draw)) + 1
            loss = found.loss(drawn(BATCH, space.width, depth, draw), points(POINTS, space.width, draw))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(found.parameters(), 1.0)
            optimizer.step()
            total += float(loss.detach())
            if (step + 1) % every == 0:
                told(step + 1, total / every)
                total = 0.0
        return found.eval()


@torch.no_grad()
def explained(embedding: Autoencoder, width: int, *, number: int = HELD_OUT, seed: int = 2**20) -> float:
    """The median over networks that no step saw, of every depth, of how much of a function's variance its decoded one
    explains (R²)."""
    draw, found = torch.Generator().manual_seed(seed), []
    for depth in range(1, embedding.depth + 1):
        networks: MLPs = drawn(-(-number // embedding.depth), width, depth, draw)
        x = points(4 * POINTS, width, draw)
        variance = networks(x).var(1, correction=0).clamp(min=1e-12)
        found.append(1 - embedding.errors(networks, x).amin(0) / variance)
    return float(torch.cat(found).median())


def keep(space: MLPSpace, embedding: Autoencoder) -> dict[str, Any]:
    """Writes an embedding into the cache, the description last, and returns that.

    Raises:
        UserError: the cache cannot be written.
    """
    path = place_of(space)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"'{path.parent}' cannot be a folder ({refusal(error)}); set XDG_CACHE_HOME to one that can be written."
        ) from None
    write_tensors(path, embedding.state_dict())
    document = {
        "format": 1, "options": embedding_options(space), "explained": explained(embedding, space.width),
        "sha256": hashlib.sha256(content(path, LARGEST_TENSORS)).hexdigest(),
    }  # fmt: skip
    write_text(path.with_suffix(".json"), json.dumps(document, indent=1) + "\n")
    return document


def kept(space: MLPSpace) -> tuple[Autoencoder, str]:
    """The embedding of the cache, and the SHA-256 of its tensors.

    Raises:
        UserError: it was not trained yet, or its files are damaged.
    """
    path, command = place_of(space), TRAIN.format(space=space.text)
    about = path.with_suffix(".json")
    if not os.path.lexists(about):
        raise UserError(f"the space '{space.text}' needs an embedding, which is trained once: `{command}`, in minutes.")
    document = json_of(about, LARGEST, remedy=f"train it again with `{command}`")
    digest = hashlib.sha256(content(path, LARGEST_TENSORS, remedy=f"train it again with `{command}`")).hexdigest()
    if not isinstance(document, dict) or document.get("sha256") != digest:
        raise UserError(f"'{path}' is not as it was written; train it again with `{command}`.")
    found = Autoencoder(space.width, space.depth, space.features)
    load_weights(found, path, remedy=f"train it again with `{command}`")
    return found.eval(), digest
