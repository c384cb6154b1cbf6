"""What a search is asked for: its options, each with type, default, range and help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dnal.base.options import Options, option
from dnal.settings import MOST, MOST_BATCH

DEFAULT_BUDGET = "params<=500k,macs<=20M"
"""Of a search without one: a list of a few layers may have more weights than a machine has memory for."""


@dataclass(frozen=True)
class Searches(Options):
    """The data of a search, and how its candidates are trained and measured."""

    data: str = option("digits", "A name of `dnal data`, a file, a folder.")
    root: str | None = option(None, "Folder of the downloaded sets.")
    input: tuple[int, ...] | None = option(
        None, "Sizes of an example: channels, height and width. Default: the data's.", least=1, most=MOST
    )
    classes: int | None = option(None, "Number of classes. Default: what the data tell.", least=1, most=2**16)
    limit_train: int | None = option(None, "Use only so many training examples, stratified.", least=1, most=MOST)
    batch_size: int = option(64, "Examples per step.", least=2, most=MOST_BATCH)
    evaluations: int = option(24, "Networks that are trained, in all.", least=1, most=100_000)
    epochs: int = option(2, "For which each of them is trained.", least=1, most=10_000)
    final_epochs: int = option(20, "For which the best one is trained again, from new weights.", least=1, most=100_000)
    lr: float = option(1e-3, "Learning rate of Adam.", above=0, most=1e3)
    fitness: Literal["validation", "training"] = option(
        "validation",
        "By which data networks are compared; training, as published for psoCNN, prefers large ones.",
    )
    seed: int = option(0, "Of everything that is drawn; equal seeds give equal results.", least=0, most=2**31 - 1)
    deploy_batch_size: int = option(
        1, "Examples at once, for which memory and latency are stated.", least=1, most=MOST_BATCH
    )
    backend: str = option("auto", "Where the latency is stated: torch-cpu, torch-cuda, onnxruntime-cpu; auto.")
