"""Recomputing the figures of a finished run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from dnal import data as dnal_data
from dnal.run.config import read_config
from dnal.run.data import batch_of, data_of, example_of
from dnal.run.files import RESULT
from dnal.run.loading import base_network, load, read_result

CLOSE = 1e-3
"""How near a metric that is no share must come to what was recorded."""


def evaluate(
    run: str | Path, *, data: str | None = None, root: str | Path | None = None, trust: Sequence[str] = ()
) -> dict[str, Any]:
    """Recomputes a run's figures from its saved network, and compares them with result.json.

    Of the base network only what its name tells is recomputed (MACs and parameters); its weights are not kept. The data
    are read from where the run says, wherever that is. They are downloaded only where ``data`` or ``root`` is given: a
    folder that may be anybody's asks for no download.

    Args:
        run: the folder.
        data: where the data are now, if they moved; None means as recorded.
        root: the same for the folder of downloaded sets.
        trust: as for :func:`load`.

    Returns:
        "base": macs, params; "compact": macs, params, accuracy (0 to 1, test data) or the metric of the run's
        objective, latency_ms (of the run's deploy_batch_size on its backend), and memory (bytes) if the run bounded it;
        "apart": where examples are of several sorts, such as the tasks of image restoration, figures of each;
        "input_shape"; "deploy_batch_size", "backend"; "differs": a sentence per figure that is not result.json's
        (empty: all agree; latency is measured again and not compared).

    Raises:
        UserError: as :func:`load` and :func:`dnal.data.load`.
    """
    from dnal.costs.cost import COSTS
    from dnal.costs.deployment import Deployed
    from dnal.train.evaluate import IGNORED, accuracy
    from dnal.train.rows import to_device
    from dnal.train.setup.numerics import fabric_of

    config, result = read_config(run), read_result(run)
    aim, cpu = config.aim, torch.device("cpu")
    network, base = load(run, trust=trust), base_network(run, config, trust=trust)
    dataset = data_of(config, data=data, root=root, trust=trust)
    test = dnal_data.loaders(dataset, batch_of(config), workers=min(config.workers, os.cpu_count() or 1)).test
    device = fabric_of("32-true").device  # where `learn` measured
    example = to_device(example_of(dataset), device)
    network.to(device)
    deployment = Deployed.of(config.deploy_batch_size, config.backend)
    (compact,) = deployment.figures([network], example, result["compact"])
    here = next((parameter.device for parameter in base.parameters()), cpu)
    where = tree_map_only(Tensor, lambda tensor: tensor.to(here), example)
    found: dict[str, Any] = {
        "base": {cost.figure: cost.on(base, where) for cost in COSTS.values() if cost.always and not cost.measured},
        "compact": {**compact, aim.figure: (aim.metric or accuracy)(network, test)},
    }
    # Another device or library version may round two nearly equal logits the other way: one image, never many.
    told = int((dataset.test.y != IGNORED).sum())
    tolerance = {aim.figure: max(0.001, 1.5 / max(1, told)) if aim.is_share else CLOSE}
    clocked = {cost.figure for cost in COSTS.values() if cost.measured}
    differs = [
        f"{part} {key} is {value}, {RESULT} says {result[part].get(key)}"
        for part, figures in found.items()
        for key, value in figures.items()
        if key not in clocked and not _close(value, result[part].get(key), tolerance.get(key, 0))
    ]
    apart = config.of_kind.apart(network, dataset.test)
    return {
        **found,
        **({"apart": apart} if apart else {}),
        "input_shape": list(config.input),
        "deploy_batch_size": deployment.batch,
        "backend": deployment.backend,
        "differs": differs,
    }


def _close(found: float, said: object, tolerance: float) -> bool:
    return isinstance(said, int | float) and abs(found - said) <= tolerance
