"""`--devices`, `--nodes`, `--strategy`: the processes that train together, by Lightning Fabric."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING

from dnal.base.errors import UserError, suggestion
from dnal.cli import company
from dnal.cli.failures import lost_peer

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

    from dnal.train.setup.numerics import precision_of, without_chatter

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
            _launch(fabric, devices, nodes)
    except (ValueError, RuntimeError, ImportError, TypeError) as error:
        if lost_peer(error):
            raise UserError(company.GONE) from None
        raise UserError(f"{devices} devices with the strategy '{strategy}' cannot be used here: {error}") from None
    return fabric


def _launch(fabric: Fabric, devices: int, nodes: int) -> None:
    """All processes, each of which has found the others.

    Fabric would start those of this machine as we do, and kill without a word what is left when one of them is gone.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment

    environment = getattr(fabric.strategy, "cluster_environment", None)
    started = environment is None or environment.creates_processes_externally
    if nodes == 1:
        _keep_to_this_machine()
    if isinstance(environment, LightningEnvironment) and not started and _by_command(fabric):
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
        os.environ["NODE_RANK"], os.environ["LOCAL_RANK"] = str(environment.node_rank()), "0"
        company.bring(devices)
    apart = (
        f"the {devices} processes of this job did not find each other within {company.START:g} seconds; is one gone?"
    )
    with company.limited(apart) if started and nodes == 1 else nullcontext():
        fabric.launch()
        fabric.barrier()


def _by_command(fabric: Fabric) -> bool:
    """Whether a strategy has its processes started as commands."""
    return type(fabric.strategy.launcher).__name__ == "_SubprocessScriptLauncher"


def _keep_to_this_machine() -> None:
    """Gloo would look its own host's name up, and listen at the address that it finds."""
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])


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
