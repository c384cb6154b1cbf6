import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn

from dnal.techniques.distillation import Distillation
from dnal.train.optimizers import sgd
from dnal.train.phase import Context, Phase, run_phase


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator)
    return [(x[i : i + 16], (x[i : i + 16, 0] > 0).long()) for i in range(0, 64, 16)]


def test_every_trained_parameter_is_in_one_group_and_only_matrices_decay() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    network[2].bias.requires_grad_(False)
    groups = sgd(network, 0.1, weight_decay=0.01).param_groups
    owned = [id(p) for g in groups for p in g["params"]]
    assert sorted(owned) == sorted(id(p) for p in network.parameters() if p.requires_grad)
    assert all((g["weight_decay"] > 0) == (p.dim() > 1) for g in groups for p in g["params"])


def test_training_learns_and_zero_epochs_change_nothing() -> None:
    torch.manual_seed(0)
    network = nn.Linear(5, 2)
    before = network.weight.clone()
    context = Context(Fabric(accelerator="cpu", devices=1), batches(), F.cross_entropy)
    run_phase(Phase("base", 0, 0.1), network, context)
    assert torch.equal(before, network.weight)
    run_phase(Phase("base", 20, 0.5), network, context)
    history = context.history
    assert history[-1]["loss"] < 0.3 * history[0]["loss"]
    assert history[-1]["lr"] < 1e-3


def test_a_teacher_is_imitated_and_left_alone() -> None:
    torch.manual_seed(0)
    teacher, pupil = nn.Linear(5, 2).eval(), nn.Linear(5, 2)
    before = teacher.weight.clone()
    wrong = [(x, 1 - y) for x, y in batches()]  # labels that contradict the teacher weigh a tenth
    with torch.no_grad():
        teacher.weight.zero_()
        teacher.weight[1, 0], teacher.weight[0, 0] = 4.0, -4.0
        before = teacher.weight.clone()
    context = Context(Fabric(accelerator="cpu", devices=1), wrong, F.cross_entropy, base=teacher)
    run_phase(Phase("retrain", 30, 0.3, techniques=(Distillation(heard="always"),)), pupil, context)
    assert torch.equal(before, teacher.weight)
    x = torch.cat([b[0] for b in batches()])
    agree = (pupil(x).argmax(1) == teacher(x).argmax(1)).double().mean()
    assert agree > 0.9
