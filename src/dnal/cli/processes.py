"""`--devices`, `--nodes`, `--strategy`: the processes that train together, by Lightning Fabric."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dnal.base.errors import UserError, suggestion

if TYPE_CHECKING:
    from lightning.fabric import Fabric

LEAST = 2
"""Images of a batch for each of several processes: batch norm cannot train on one."""


def launched(devices: int | None, nodes: int | None, strategy: str, precision: str, batch_size: int) -> Fabric | None:
    """One process per device, all of them started: by Fabric itself, by torchrun or by SLURM. None: this one alone.

    From here on every line of the command runs in each of them.

    Args:
        devices, nodes: per machine, and machines; None is what the launcher says, else 1.
        batch_size: which all of them share.

    Raises:
        UserError: what this machine or Fabric does not have, or a batch that is too small.
    """
    started = devices_and_nodes(os.environ)
    devices, nodes = devices or started[0], nodes or started[1]
    if devices * nodes == 1 and strategy == "auto":
        return None
    processes = devices * nodes
    if processes > 1 and batch_size < LEAST * processes:  # here one process tells it, and nothing is begun
        raise UserError(
            f"a batch of {batch_size} is too small for {processes} processes, which need {LEAST} images each; give "
            f"fewer --devices, or a --batch-size of {LEAST * processes} or more."
        )
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import STRATEGY_REGISTRY

    from dnal.train.arrangement import precision_of, without_chatter

    known = ["auto", *STRATEGY_REGISTRY.available_strategies()]
    if strategy not in known:
        raise UserError(f"unknown strategy '{strategy}'; {suggestion(strategy, known)}")
    try:
        with without_chatter():
            fabric = Fabric(
                accelerator="auto",
                devices=devices,
                num_nodes=nodes,
                strategy="ddp" if strategy == "auto" else strategy,
                precision=precision_of(precision),  # type: ignore[arg-type]
            )
            fabric.launch()
    except (ValueError, RuntimeError, ImportError) as error:
        raise UserError(f"{devices} devices with the strategy '{strategy}' cannot be used here: {error}") from None
    return fabric


def devices_and_nodes(environment: Mapping[str, str]) -> tuple[int, int]:
    """What torchrun or SLURM started: processes per machine, and machines."""
    if "TORCHELASTIC_RUN_ID" in environment:
        devices = int(environment["LOCAL_WORLD_SIZE"])
        return devices, int(environment["WORLD_SIZE"]) // devices
    tasks = int(environment.get("SLURM_NTASKS", "1"))
    if tasks > 1 and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(environment.get("SLURM_NNODES", "1"))
        return tasks // nodes, nodes
    return 1, 1
