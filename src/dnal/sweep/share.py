"""How the machines are shared out between trials."""

from __future__ import annotations

from dataclasses import dataclass

from dnal.base.on_ray import Machines

CORES = 4
"""Of a trial, where neither a number of trials at once is given nor a GPU is there."""


@dataclass(frozen=True)
class Share:
    """Trials at once, and what each gets: threads, and so much of a GPU."""

    at_once: int
    threads: int
    gpu: float


def shared(machines: Machines, trials: int, at_once: int | None) -> Share:
    """The cores are divided by the trials at once, and so are the GPUs; a trial stays on one machine and one GPU.

    Args:
        trials: how many there are.
        at_once: at most so many run at a time; None is one per GPU, or one for every four cores.
    """
    wanted = at_once or machines.gpus or machines.cores // CORES
    number = max(1, min(wanted, trials, machines.cores))
    threads = max(1, min(machines.cores // number, machines.largest))
    return Share(number, threads, machines.gpu_share(number))
