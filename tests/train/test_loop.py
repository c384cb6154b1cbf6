import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.train.listener import Listener, Listeners
from dnal.train.loop import Diverged, Stopped, run_epochs
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.checkpointer import Checkpointer


class Diary(Listener):
    def __init__(self) -> None:
        self.entries: list[Any] = []

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        self.entries.append(("phase", name, epochs, steps_per_epoch))

    def step(self, loss: float) -> None:
        self.entries.append(("step", loss))

    def epoch(self, record: dict[str, Any]) -> None:
        self.entries.append(("epoch", record["epoch"]))

    def resumed(self, history: list[dict[str, Any]], steps: int) -> None:
        self.entries.append(("resumed", len(history), steps))


def run(
    losses: list[float],
    listener: Listener | None = None,
    epochs: int = 2,
    *,
    folder: Path | None = None,
    stop_at: int = 99,
    last: float | None = None,
    network: nn.Module | None = None,
) -> list[dict[str, Any]]:
    """Losses that are given, and a weight that is the phase's progress; ``last``: what the last step makes of it."""
    network, history = network or nn.Linear(1, 1), []
    batches = [(torch.zeros(1, 1), torch.zeros(1))] * (len(losses) // epochs)
    done = 0

    def step(batch: tuple[Tensor, Tensor], progress: float) -> Tensor:
        nonlocal done
        done = round(progress * len(losses))
        with torch.no_grad():
            network.weight.fill_(last if last is not None and progress == 1 else progress)
        return torch.tensor(losses[done - 1])

    checkpointer = Checkpointer(
        [batches], None if folder is None else Checkpoints(folder, 1), stop=lambda: done >= stop_at
    )
    if checkpointer.tree is None:
        checkpointer.begin("base", job={}, history=[], parts={"network": network}, carried={})
    run_epochs(
        Fabric(accelerator="cpu", devices=1), "base", batches, epochs, step,
        parts={"network": network}, describe=lambda: {"extra": float(network.weight.detach())},
        listener=listener or Listener(), history=history, checkpointer=checkpointer,
    )  # fmt: skip
    return history


def kept(folder: Path) -> tuple[int, int, float]:
    tree = Checkpoints(folder).load()
    assert tree is not None
    return tree["position"]["epoch"], tree["position"]["step"], float(tree["parts"]["network"]["weight"])


def test_hooks_come_in_order_and_records_carry_the_mean_loss() -> None:
    diary = Diary()
    history = run([1.0, 2.0, 3.0, 5.0], Listeners([diary]))
    assert [e[:2] for e in diary.entries] == [
        ("phase", "base"), ("step", 1.0), ("step", 2.0), ("epoch", 1),
        ("step", 3.0), ("step", 5.0), ("epoch", 2),
    ]  # fmt: skip
    assert [(r["loss"], r["extra"], r["epochs"]) for r in history] == [(1.5, 0.5, 2), (4.0, 1, 2)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_the_step_and_the_last_state_is_the_good_one(
    bad: float, tmp_path: Path
) -> None:
    with pytest.raises(Diverged, match="phase 'base', epoch 2, step 1"):
        run([1.0, 2.0, bad, 4.0], folder=tmp_path)
    assert kept(tmp_path) == (1, 0, 0.5)


def test_weights_that_overflow_in_an_epochs_last_step_are_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="epoch 2, step 3"):
        run([1.0] * 6, folder=tmp_path, last=math.inf)
    assert kept(tmp_path) == (1, 2, pytest.approx(5 / 6))


class Masked(nn.Linear):
    """A mask of minus infinity as a buffer, another one as a parameter, and a running statistic."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.register_buffer("mask", torch.full((3, 3), -math.inf).triu(1))
        self.frozen = nn.Parameter(torch.tensor([0.0, -math.inf]), requires_grad=False)
        self.register_buffer("mean", torch.zeros(2))


def test_what_is_infinite_on_purpose_has_not_diverged(tmp_path: Path) -> None:
    assert len(run([1.0, 2.0], folder=tmp_path, network=Masked())) == 2


def test_a_statistic_that_overflows_has(tmp_path: Path) -> None:
    network = Masked()

    class Overflow(Listener):
        def step(self, loss: float) -> None:
            network.mean[1] = math.inf

    with pytest.raises(Diverged, match="epoch 1, step 1"):
        run([1.0, 2.0], Overflow(), folder=tmp_path, network=network)


@pytest.mark.parametrize("at", range(1, 6))
def test_a_stopped_phase_goes_on_where_it_was(at: int, tmp_path: Path) -> None:
    losses = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    whole = run(losses)
    with pytest.raises(Stopped):
        run(losses, folder=tmp_path, stop_at=at)
    epoch, step, weight = kept(tmp_path)
    assert (3 * epoch + step, weight) == (at, pytest.approx(at / 6))
    diary = Diary()
    history = run(losses, diary, folder=tmp_path)
    assert diary.entries[1] == ("resumed", epoch, at)
    assert [e[1] for e in diary.entries if e[0] == "step"] == losses[at:]
    assert [{**record, "seconds": 0} for record in history] == [{**record, "seconds": 0} for record in whole]


def test_an_epoch_that_ended_is_not_run_again_when_stopped_at_its_end(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="after epoch 1"):
        run([1.0, 2.0, 3.0, 4.0], folder=tmp_path, stop_at=2)
    assert kept(tmp_path)[:2] == (1, 0)
