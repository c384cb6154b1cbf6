import math
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.train.listener import Chorus, Listener
from dnal.train.loop import Diverged, run_epochs


class Diary(Listener):
    def __init__(self) -> None:
        self.entries: list[Any] = []

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        self.entries.append(("phase", name, epochs, steps_per_epoch))

    def step(self, loss: float) -> None:
        self.entries.append(("step", loss))

    def epoch(self, record: dict[str, Any]) -> None:
        self.entries.append(("epoch", record["epoch"]))

    def checkpoint(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        self.entries.append(("checkpoint", progress["epoch"], {k: v.clone() for k, v in tensors.items()}))


def run(losses: list[float], listener: Listener, epochs: int = 2) -> list[dict[str, Any]]:
    network, left, history = nn.Linear(1, 1), iter(losses), []
    batches = [(torch.zeros(1, 1), torch.zeros(1))] * (len(losses) // epochs)

    def step(inputs: Tensor, targets: Tensor, progress: float) -> Tensor:
        with torch.no_grad():
            network.weight.fill_(progress)
        return torch.tensor(next(left))

    run_epochs(
        Fabric(accelerator="cpu", devices=1), "base", batches, epochs, step,
        state=network, describe=lambda: {"extra": 1}, listener=listener, history=history,
    )  # fmt: skip
    return history


def test_hooks_come_in_order_and_records_carry_the_mean_loss() -> None:
    diary = Diary()
    history = run([1.0, 2.0, 3.0, 5.0], Chorus([diary]))
    assert [e[:2] for e in diary.entries] == [
        ("phase", "base"), ("step", 1.0), ("step", 2.0), ("epoch", 1), ("checkpoint", 1),
        ("step", 3.0), ("step", 5.0), ("epoch", 2), ("checkpoint", 2),
    ]  # fmt: skip
    assert [(r["loss"], r["extra"], r["epochs"]) for r in history] == [(1.5, 1, 2), (4.0, 1, 2)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_the_step_and_the_last_state_is_the_good_one(bad: float) -> None:
    diary = Diary()
    with pytest.raises(Diverged, match="phase 'base', epoch 2, step 1"):
        run([1.0, 2.0, bad, 4.0], diary)
    kind, epoch, tensors = diary.entries[-1]
    assert (kind, epoch, float(tensors["weight"])) == ("checkpoint", 1, 0.5)


def test_weights_that_overflow_in_an_epochs_last_step_are_no_checkpoint() -> None:
    network, diary = nn.Linear(1, 1), Diary()

    def step(inputs: Tensor, targets: Tensor, progress: float) -> Tensor:
        with torch.no_grad():
            network.weight.fill_(math.inf if progress == 1 else progress)
        return torch.tensor(1.0)

    with pytest.raises(Diverged, match="epoch 2, step 3"):
        run_epochs(
            Fabric(accelerator="cpu", devices=1), "base", [(torch.zeros(1), torch.zeros(1))] * 3, 2, step,
            state=network, describe=dict, listener=diary, history=[],
        )  # fmt: skip
    assert diary.entries[-1][:2] == ("step", 1.0)
    assert [e[1] for e in diary.entries if e[0] == "checkpoint"] == [1]
