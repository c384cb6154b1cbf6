import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn

from dnal.base.errors import UserError
from dnal.techniques.distillation import (
    Distillation,
    check_logits,
    distillation_loss,
    teacher_is_better,
    teacher_is_right,
)
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.technique import Scene


def test_formula_of_tas_written_out() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(5, 7), torch.randn(5, 7)
    task = F.cross_entropy(logits, torch.randint(0, 7, (5,)))
    p, q = (teacher / 4).softmax(1), (logits / 4).softmax(1)
    divergence = (p * (p / q).log()).sum() / 5
    assert torch.allclose(distillation_loss(logits, teacher, task), 0.1 * task + 0.9 * 16 * divergence, atol=1e-6)


def test_a_perfect_pupil_pays_the_task_only() -> None:
    logits = torch.randn(3, 4)
    assert torch.allclose(distillation_loss(logits, logits, torch.tensor(2.0), weight=0.5), torch.tensor(1.0))


@pytest.mark.parametrize("positions", [(6,), (3, 4)])
def test_dense_logits_are_as_many_images_of_one_position(positions: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits, teacher, task = torch.randn(2, 5, *positions), torch.randn(2, 5, *positions), torch.tensor(0.3)
    flat = [dense.movedim(1, -1).reshape(-1, 5) for dense in (logits, teacher)]
    assert torch.allclose(distillation_loss(logits, teacher, task), distillation_loss(*flat, task), atol=1e-6)


@pytest.mark.parametrize(
    "outputs", [{"scores": torch.randn(2, 3)}, {"logits": torch.randn(2, 1)}, (torch.randn(2, 3),), torch.randn(2, 1)]
)
def test_what_is_no_logits_cannot_be_imitated(outputs: object) -> None:
    check_logits(torch.randn(2, 3))
    check_logits({"logits": torch.randn(2, 3)})
    with pytest.raises(UserError, match="leave distillation out"):
        check_logits(outputs)


@pytest.mark.parametrize("positions", [(), (3,)])
def test_a_teacher_that_is_heard_at_times_counts_for_those_examples_alone(positions: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits, teacher, task = torch.randn(6, 5, *positions), torch.randn(6, 5, *positions), torch.tensor(0.7)
    everywhere = torch.ones(6, *positions, dtype=torch.bool)
    assert torch.allclose(
        distillation_loss(logits, teacher, task, heard=everywhere), distillation_loss(logits, teacher, task)
    )
    assert distillation_loss(logits, teacher, task, heard=~everywhere) == task
    heard = everywhere.clone()
    heard[:2] = False
    alone = distillation_loss(logits[2:], teacher[2:], torch.tensor(0.0), weight=1)
    expected = (1 - 0.9 * 4 / 6) * task + 0.9 * 4 / 6 * alone
    assert torch.allclose(distillation_loss(logits, teacher, task, heard=heard), expected)


def test_where_a_teacher_is_right_and_where_it_knows_better() -> None:
    targets = torch.tensor([0, 1, 2, -100])
    teacher = torch.tensor([[3.0, 0, 0], [3.0, 2, 0], [0, 0, 9.0], [9.0, 0, 0]])
    logits = torch.tensor([[9.0, 0, 0], [3.0, 1, 0], [0, 0, 8.0], [0, 0, 0.0]])
    assert teacher_is_right(logits, teacher, targets).tolist() == [True, False, True, False]
    assert teacher_is_better(logits, teacher, targets).tolist() == [False, True, True, False]
    soft = F.one_hot(targets.clamp(min=0), 3).float()
    assert teacher_is_right(logits, teacher, soft).tolist() == [True, False, True, True]
    with pytest.raises(UserError, match="heard=always"):
        teacher_is_right(logits, teacher, torch.rand(4))


@pytest.mark.parametrize("heard", ["right", "better"])
def test_a_teacher_that_is_always_wrong_changes_nothing_where_it_is_heard_when_right(heard: str) -> None:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    batches = [(x, (x[:, 0] > 0).long())]
    teacher = nn.Linear(4, 2).eval()
    with torch.no_grad():
        teacher.weight.zero_(), teacher.bias.zero_()
        teacher.weight[0, 0], teacher.weight[1, 0] = 50.0, -50.0
    pupils = []
    for techniques in [(), (Distillation(heard=heard),), (Distillation(heard="always"),)]:
        torch.manual_seed(0)
        pupil = nn.Linear(4, 2)
        context = Context(Fabric(accelerator="cpu", devices=1), batches, F.cross_entropy, base=teacher)
        run_phase(Phase("retrain", 20, 0.3, techniques=techniques), pupil, context)
        pupils.append(pupil.weight.detach())
    assert torch.allclose(pupils[0], pupils[1], atol=1e-6)
    assert not torch.allclose(pupils[0], pupils[2], atol=1e-2), "or the teacher would not matter"


def test_a_teacher_that_fades_is_gone_at_the_end() -> None:
    teacher = nn.Linear(4, 2).eval()
    technique = Distillation(heard="always", fades=True)
    technique.prepare(teacher, Scene("retrain", 1, 10, teacher))
    x, task = torch.randn(8, 4), torch.tensor(0.5)
    outputs = torch.randn(8, 2)
    for progress in (0.0, 0.25, 1.0):
        found = technique.loss(task, (x, None), outputs, SimpleNamespace(progress=progress))  # type: ignore[arg-type]
        expected = distillation_loss(outputs, teacher(x), task, weight=0.9 * (1 - progress))
        assert torch.allclose(found, expected)
    assert found == task


def test_a_teacher_is_heard_as_much_as_it_knows() -> None:
    targets = torch.arange(8) % 2
    technique = Distillation(heard="known", weight=0.8)
    technique.prepare(nn.Identity(), Scene("retrain", 1, 10, nn.Identity().eval()))
    step: Any = SimpleNamespace(progress=0.0, task_loss=F.cross_entropy)
    outputs, task = torch.randn(8, 2), torch.tensor(0.5)
    undecided = float((1 - F.cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([0])) / math.log(2)) ** 3)
    for size, known in ((9.0, 1.0), (0.5, undecided), (0.0, 0.0), (-9.0, 0.0)):  # of the right class: sure, ..., wrong
        teacher = F.one_hot(targets, 2) * 2 * size
        found = technique.loss(task, (teacher, targets), outputs, step)
        expected = distillation_loss(outputs, teacher, task, weight=0.8 * known)
        assert torch.allclose(found, expected, atol=1e-5)
