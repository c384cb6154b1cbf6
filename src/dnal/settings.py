"""The options of a job, each defined once with its type, default, range and help.

:func:`dnal.learn`, the command line, config.yaml, ``--like``, ``resume``, sweeps and reports take the options from
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dnal.base.options import Options, option

DEFAULT_BUDGET = "macs<=30%"
DEFAULT_LR = 0.1
SEARCH_BUDGET = "params<=500k,macs<=20M"
"""Of a search without one: a list of a few layers may have more weights than a machine has memory for."""
MOST = 2**31 - 1
"""Of what is counted."""
MOST_BATCH = 2**16
"""Of examples at once where a network runs."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
BACKENDS = {
    "torch-cpu": "dnal.latency.backends.torch_backends:TorchCpu",
    "torch-cuda": "dnal.latency.backends.torch_backends:TorchCuda",
    "onnxruntime-cpu": "dnal.latency.backends.onnxruntime_cpu:OnnxRuntimeCpu",
}
"""Where networks can be timed, by name: a file each, and a line here. Nothing is imported before it is used."""
SCHEDULES = {
    "cosine": "dnal.train.schedule:cosine",
    "one-cycle": "dnal.train.schedule:one_cycle",
    "step": "dnal.train.schedule:step",
    "constant": "dnal.train.schedule:constant",
}
"""Learning rates over a phase, by name: a function each, and a line here."""


@dataclass(frozen=True)
class Source(Options):
    """Network and data by their names."""

    model: str = option("vgg_small", "A name of `dnal models`, or the folder of a finished run.")
    weights: str | None = option(None, "pretrained, or a .safetensors file: start from a trained network.")
    input: tuple[int, ...] | None = option(
        None,
        "Sizes of an example, as its kind of data has them: channels, height and width of images, length and number "
        "of tokens of text; default: the model's or the data's.",
        least=1,
        most=MOST,
    )
    classes: int | None = option(
        None, "Number of classes, or of targets; default: what the data tell.", least=1, most=2**22
    )
    data: str = option("digits", "A name of `dnal data`, a file, a folder; with options such as rows.csv:target=price.")
    root: str | None = option(None, "Folder of the downloaded sets.")
    limit_train: int | None = option(None, "Use only so many training examples, stratified.", least=1, most=MOST)
    batch_size: int = option(64, "Examples per step, over all processes.", least=1, most=MOST)
    workers: int = option(0, "Processes that prepare the batches.", least=0, most=1024, identifies=False)


@dataclass(frozen=True)
class Training(Options):
    """How a job trains."""

    epochs: int | tuple[int, int, int] | None = option(
        None, "In all, or of base, search and retraining. Default: what the method is made for.", least=0, most=MOST
    )
    lr: float | None = option(None, f"Peak learning rate of the weights; default {DEFAULT_LR:g}.", above=0, most=1e30)
    accumulate: int = option(
        1,
        "Batches per step: their gradients are added up, in the memory of one batch; --lr is that of the larger step.",
        least=1,
        most=MOST,
    )
    optimizer: str = option("sgd", "sgd, or a name of timm's optimizers such as adamw or lamb.")
    schedule: str = option("cosine", "Of the learning rate.", known=tuple(SCHEDULES))
    schedule_over: Literal["phase", "job"] = option(
        "phase",
        "phase: base and retraining each have the schedule; job: it runs once, through all three phases. Then no "
        "finished base is left.",
    )
    reinitialize: bool | None = option(
        None, "Whether what is left is retrained from new weights. Default: what the method is made for."
    )
    seed: int = option(0, "Equal seeds on one machine give equal results.", least=0, most=2**63 - 1)


@dataclass(frozen=True)
class Widths(Options):
    """What may vary, and which widths the groups of channels may have."""

    min_width: int | float = option(1, "Least width of a group: channels, such as 8, or a share, such as 0.1.", above=0)
    divisor: int | Literal["auto"] | None = option(
        None,
        "Widths are multiples of it; auto: what the backend computes fastest where the budget bounds the latency, else "
        "16, or 8, 4 and 2 where a group is narrow. Default: auto where the budget bounds the latency, else 1.",
        least=1,
    )
    prune_blocks: bool | None = option(
        None,
        "Whether residual branches may go as a whole. Default: what the method is made for; not with --uniform-layers.",
    )
    include: tuple[str, ...] = option(
        (), "Only what these layers make may vary: a name or a pattern such as 'layer4.*'."
    )
    exclude: tuple[str, ...] = option((), "What these layers make stays: a name or a pattern such as '*.conv2'.")
    norms: Literal["fixed", "open"] = option(
        "fixed",
        "open: layer norms, RMS norms and other means over channels run over those that are open, so that the streams "
        "of transformers and ConvNeXts may vary; fixed: what they run over stays.",
    )
    uniform_layers: bool = option(
        False,
        "Layers whose names differ in numbers only keep equally many channels, as one configuration says for all.",
    )


@dataclass(frozen=True)
class Deployment(Options):
    """Where the compact network will run: there memory and latency are stated."""

    deploy_batch_size: int = option(
        1, "Examples at once, for which memory and latency are stated.", least=1, most=MOST_BATCH
    )
    backend: str = option(
        "auto",
        f"Where the compact network will run: {', '.join(BACKENDS)}; auto: on the GPU, if there is one.",
        known=("auto", *BACKENDS),
    )


@dataclass(frozen=True)
class Numerics(Options):
    """Which numbers a job computes with, and how they lie in memory."""

    precision: str = option(
        "auto", f"Numbers to compute with: {', '.join(PRECISIONS)}; auto: what is clearly fastest.",
        known=("auto", *PRECISIONS),
    )  # fmt: skip
    memory_format: Literal["auto", "channels_last", "contiguous"] = option(
        "auto", "Order of images and convolutions in memory; auto: what is clearly fastest."
    )


@dataclass(frozen=True)
class Comparison(Options):
    """What else is made of the same base under the same budget, to tell whether learning paid."""

    against: tuple[str, ...] = option(
        (), "Methods that reach the same budget from the same base with equally many samples, such as "
        "uniform,scratch,magnitude,obs; scratch: uniform widths, trained from new weights for as long as all phases "
        "of the others together.",
    )  # fmt: skip


@dataclass(frozen=True)
class Share(Options):
    """How many weights stay: an option of every method that keeps weights."""

    keep: float = option(0.1, "Share of the weights that stays, such as 10%.", above=0, below=1)


@dataclass(frozen=True)
class Tickets(Share):
    """Which weights stay in rounds, and from what they are trained: options of `dnal sparsify` and its methods."""

    rounds: int = option(3, "Rounds of masking and training.", least=1, most=1000)
    reset: Literal["auto", "early", "init", "none"] = option(
        "auto",
        "From which weights a round is trained: early: those of an early step of the base; init: those before its "
        "first step; none: those that are there. auto: early, and none where the base comes trained.",
    )
    early: float = option(0.03, "Where the early step is, as a share of the base's.", above=0, most=1)


@dataclass(frozen=True)
class Growths(Options):
    """How a network grows: options of `dnal grow` and its methods."""

    rounds: int = option(3, "Rounds of growth and training.", least=1, most=1000)
    samples: int = option(
        512, "Training examples from which new neurons are made; half as many others decide how strong they are.",
        least=1, most=MOST,
    )  # fmt: skip


@dataclass(frozen=True)
class Searches(Options):
    """The data of `dnal search`, and how its networks are trained and measured."""

    data: str = option("digits", "A name of `dnal data`, a file, a folder.")
    root: str | None = option(None, "Folder of the downloaded sets.")
    input: tuple[int, ...] | None = option(
        None, "Sizes of an example: channels, height and width. Default: the data's.", least=1, most=MOST
    )
    classes: int | None = option(None, "Number of classes. Default: what the data tell.", least=1, most=2**16)
    limit_train: int | None = option(None, "Use only so many training examples, stratified.", least=1, most=MOST)
    batch_size: int = option(64, "Examples per step.", least=2, most=MOST_BATCH)
    evaluations: int = option(24, "Networks that are trained, in all.", least=1, most=100_000)
    predictor: str | None = option(
        None, "Predicts which of several proposed networks is best, learning from those that were trained: boosting, "
        "ridge, gaussian-process, mlp, assessor, with options as in boosting:trees=100.",
    )  # fmt: skip
    candidates: int = option(4, "Proposed networks of which the predictor chooses one.", least=2, most=10_000)
    warm_up: int = option(8, "Networks that are trained before the predictor chooses any.", least=2, most=100_000)
    epochs: int = option(2, "For which each of them is trained.", least=1, most=10_000)
    final_epochs: int = option(20, "For which the best one is trained again, from new weights.", least=1, most=100_000)
    pruner: str = option(
        "none", "Stops networks early that learn worse than earlier ones: median, successive-halving (with the extra "
        "search), with options as in median:start=8; none trains all to the end.",
    )  # fmt: skip
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


GROUPS: tuple[type[Options], ...] = (Source, Widths, Deployment, Training, Numerics, Comparison)
"""All options of a job that are those of no method or technique."""
