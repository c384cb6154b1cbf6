"""Two processes that train one network: the same in both, and the same as one with all the images."""

from __future__ import annotations

import functools
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import dnal

F64 = torch.float64


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def child(
    work: Callable[[Fabric], dict[str, Tensor]], rank: int, processes: int, port: int, file: str, double: bool
) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    if double:
        torch.set_default_dtype(F64)  # Fabric hands outputs back in it
    strategy = "ddp" if processes > 1 else "auto"
    fabric = Fabric(
        accelerator="cpu", devices=processes, strategy=strategy, precision="64-true" if double else "32-true"
    )
    fabric.launch()
    save_file({name: tensor.contiguous() for name, tensor in work(fabric).items()}, file)


def results(
    work: Callable[[Fabric], dict[str, Tensor]], processes: int, folder: Path, *, double: bool = True
) -> list[dict[str, Tensor]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dnal.pipeline.learn", "dnal.data", "dnal.models", "lightning.fabric"])
    port, files = free_port(), [str(folder / f"{processes}_{rank}.safetensors") for rank in range(processes)]
    started = [
        context.Process(target=child, args=(work, rank, processes, port, file, double))
        for rank, file in enumerate(files)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(100)
        assert process.exitcode == 0
    return [load_file(file) for file in files]


def plain() -> nn.Module:
    """Without statistics of the batch."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    ).to(F64)  # fmt: skip


def batches() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(4)
    return [
        (torch.rand(16, 1, 8, 8, generator=draw, dtype=F64), torch.randint(10, (16,), generator=draw))
        for _ in range(10)
    ]


def weights_of_twenty_steps(fabric: Fabric) -> dict[str, Tensor]:
    from dnal.train.phase import Context, Phase, run_phase
    from dnal.train.setup.processes import shared_out

    network = plain()
    history: list[dict[str, Any]] = []
    context = Context(fabric, shared_out(batches(), fabric), nn.functional.cross_entropy, history=history)
    run_phase(Phase("base", 2, 0.05), network, context)
    return {**network.state_dict(), "loss": torch.tensor([record["loss"] for record in history], dtype=F64)}


def steps_of_several_batches(fabric: Fabric) -> dict[str, Tensor]:
    """Ten batches in steps of four, four and two."""
    from dnal.train.phase import Context, Phase, run_phase
    from dnal.train.setup.processes import shared_out

    network = plain()
    context = Context(fabric, shared_out(batches(), fabric), nn.functional.cross_entropy, accumulate=4)
    run_phase(Phase("base", 2, 0.05), network, context)
    return network.state_dict()


class OwnLoss(nn.Module):
    """Takes its arguments by name, and computes its loss, as networks of Hugging Face do."""

    def __init__(self) -> None:
        super().__init__()
        self.network = plain()

    def forward(self, pixel_values: Tensor, shift: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.network(pixel_values + shift[:, None, None, None])
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def twenty_steps_of_mappings(fabric: Fabric) -> dict[str, Tensor]:
    from dnal.train.batch import InPairs, Reading
    from dnal.train.outputs import task_loss
    from dnal.train.phase import Context, Phase, run_phase
    from dnal.train.setup.processes import shared_out

    network = OwnLoss()
    data = [{"pixel_values": x, "shift": y.to(F64) / 10, "labels": y} for x, y in batches()]
    reading = Reading.of(network, data[0], None)
    assert reading is not None
    context = Context(fabric, shared_out(InPairs(data, reading), fabric), task_loss)
    run_phase(Phase("base", 2, 0.05), network, context)
    return network.network.state_dict()


def search_of_twenty_steps(fabric: Fabric) -> dict[str, Tensor]:
    from dnal.methods.dnal.method import learn_gates
    from dnal.methods.dnal.search import START, BudgetSearch
    from dnal.train.phase import Context, Phase
    from dnal.train.setup.processes import shared_out

    network = plain()
    space = dnal.Space.of(network, batches()[0][0][:2])
    gated = dnal.Gated(network, space, start=START)
    loader = shared_out(batches(), fabric)
    search = BudgetSearch(gated, space, {"macs": 0.4 * space.full_cost["macs"]}, 2 * len(loader))
    context = Context(fabric, loader, nn.functional.cross_entropy)
    s = learn_gates(search, Phase("architecture", 2, 0.05), context)
    return {**network.state_dict(), "s": s}


def whole_job(fabric: Fabric, method: str = "dnal") -> dict[str, Tensor]:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=200), 32)
    torch.manual_seed(0)
    network = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    learned = dnal.learn(
        network, data.train, data.val, data.test, budget="macs<=30%,latency<=90%", epochs=(1, 2, 1), fabric=fabric,
        method=method,
    )  # fmt: skip
    figures = {"accuracy": learned.figures.compact.metric, "asked": learned.constraints[1]["asked"]}
    return {
        **learned.network.state_dict(),
        "open": learned.architecture.open,
        "loss": torch.tensor([record["loss"] for record in learned.history], dtype=F64),
        **{name: torch.tensor(value, dtype=F64) for name, value in figures.items()},
    }


WORKS = {
    work.__name__: work
    for work in (
        weights_of_twenty_steps,
        twenty_steps_of_mappings,
        search_of_twenty_steps,
        steps_of_several_batches,
    )
}


def all_works(fabric: Fabric) -> dict[str, Tensor]:
    return {f"{name}/{key}": value for name, work in WORKS.items() for key, value in work(fabric).items()}


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Tensor], ...]]:
    """What each work gives alone and in each of two processes, which are started once."""
    folder = tmp_path_factory.mktemp("worked")
    found = [*results(all_works, 1, folder), *results(all_works, 2, folder)]
    return {
        name: tuple({k.partition("/")[2]: v for k, v in each.items() if k.startswith(f"{name}/")} for each in found)
        for name in WORKS
    }


@pytest.mark.parametrize("work", WORKS)
def test_twenty_steps_equal_those_of_one_process_with_all_images(
    work: str, worked: dict[str, tuple[dict[str, Tensor], ...]]
) -> None:
    alone, one, other = worked[work]
    assert alone
    for name, tensor in alone.items():
        assert torch.equal(one[name], other[name]), name
        assert float((one[name] - tensor).abs().max()) <= 1e-10, name
    assert float((alone["2.weight"] - plain().state_dict()["2.weight"]).abs().max()) > 1e-3


@pytest.mark.parametrize("method", ["dnal", pytest.param("dnal:curves_to=none", marks=pytest.mark.slow)])
def test_a_whole_job_ends_equal_in_both(method: str, tmp_path: Path) -> None:
    one, other = results(functools.partial(whole_job, method=method), 2, tmp_path, double=False)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(other[name], tensor), name
