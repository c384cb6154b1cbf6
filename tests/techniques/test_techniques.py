"""What every technique keeps, and what each computes, against torch or a formula by hand."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.base.errors import UserError
from dnal.base.options import option, options_of
from dnal.methods import METHODS
from dnal.techniques import TECHNIQUES
from dnal.techniques.ema import EMA
from dnal.techniques.label_smoothing import smoothed
from dnal.techniques.mixup import mixed_images
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.step import Step
from dnal.train.technique import PHASES, Technique
from killer import Killed, Killer

NAMES = TECHNIQUES.names()
TRAINING = [name for name in NAMES if TECHNIQUES.of(name).phases]
"""Those that act while a network is trained."""
OPTIONS = {"swa": "swa:start=0.2", "clipping": "clipping:norm=0.1", "ema": "ema:decay=0.5", "nio": "nio:iterations=3",
           "data-diet": "data-diet:epochs=1,networks=1", "distillation": "distillation:heard=always"}  # fmt: skip
"""Such that the technique does something in a few steps."""


def text(name: str) -> str:
    return OPTIONS.get(name, name)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 3))


def batches(count: int = 4) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 1, 6, 6, generator=draw), torch.randint(3, (8,), generator=draw)) for _ in range(count)]


def trained(*techniques: Technique, epochs: int = 2, **context: Any) -> nn.Module:
    torch.manual_seed(3)
    trained, base = network(), network().eval()
    x, y = (torch.cat(each) for each in zip(*batches(), strict=True))
    loader = DataLoader(TensorDataset(x, y), 8)
    around = Context(Fabric(accelerator="cpu", devices=1), loader, F.cross_entropy, base, **context)
    run_phase(Phase("retrain", epochs, 0.05, techniques=techniques), trained, around)
    return trained.eval()


@pytest.mark.parametrize("name", TRAINING)
def test_it_changes_what_is_learnt_and_leaves_an_ordinary_network(name: str) -> None:
    plain, other = trained(), trained(TECHNIQUES.read(text(name)))
    assert not torch.equal(plain[0].weight, other[0].weight)
    assert [type(module) for module in plain.modules()] == [type(module) for module in other.modules()]
    assert {n: v.shape for n, v in plain.state_dict().items()} == {n: v.shape for n, v in other.state_dict().items()}
    assert all(bool(value.isfinite().all()) for value in other.state_dict().values())


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_card_and_knows_its_phases(name: str) -> None:
    card, rows = TECHNIQUES.card(name)
    assert card.split("\n")[0].endswith(".")
    assert "ource" in card, "where it comes from"
    kind = TECHNIQUES.of(name)
    assert [row[0] for row in rows] == [one.name for one in options_of(kind)]
    assert all(row[3] for row in rows)
    assert set(kind.phases) <= set(PHASES)
    assert TECHNIQUES.read(TECHNIQUES.text(TECHNIQUES.read(text(name)))) == TECHNIQUES.read(text(name))


def narrow() -> nn.Module:
    """One whose space is found at once."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_job_that_was_killed_goes_on_to_the_same_bits(name: str, tmp_path: Any) -> None:
    def job(**more: Any) -> dnal.Learned:
        data = dnal.data.loaders(dnal.data.load("digits", limit_train=192), 48)
        return dnal.learn(
            narrow(), data.train, data.val, budget="macs<=40%", techniques=[text(name)], epochs=(2, 1, 2),
            method="dnal" if name in TRAINING else "slimming", **more,
        )  # fmt: skip

    for at in (3, 7, 5):  # in each of the three phases, from where it was killed before
        with pytest.raises(Killed):
            job(checkpoints=Checkpoints(tmp_path, 2), listener=Killer(at))
    again, whole = job(checkpoints=tmp_path).network.state_dict(), job().network.state_dict()
    assert all(torch.equal(again[key], whole[key]) for key in whole)


def test_the_average_is_the_formula() -> None:
    seen: list[Tensor] = []

    @dataclass
    class Diary(Technique):
        def after_step(self, step: Step) -> None:
            seen.append(step.network[4].bias.detach().clone())

    found = trained(Diary(), EMA(decay=0.2))
    expected = network()[4].bias.detach().clone()
    for number, weights in enumerate(seen, start=1):
        decay = min(0.2, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * weights
    assert len(seen) == 8
    assert torch.allclose(found[4].bias, expected, atol=1e-6)


def test_swa_is_torchs_average_and_its_norms_have_the_statistics_of_the_average() -> None:
    average: list[AveragedModel] = []

    @dataclass
    class Reference(Technique):
        def after_step(self, step: Step) -> None:
            if not average:
                average.append(AveragedModel(network()))
            if step.progress > 0.2 and round(step.progress * 16) % 4 == 0:
                average[0].update_parameters(step.network)

    found = trained(Reference(), TECHNIQUES.read("swa:start=0.2"), epochs=4)
    assert int(average[0].n_averaged) == 4
    for mine, theirs in zip(found.parameters(), average[0].module.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    images = torch.cat([x for x, _ in batches()])
    with torch.no_grad():
        mean = found[0](images).mean((0, 2, 3))
    assert torch.allclose(found[1].running_mean, mean, atol=1e-4)


def test_smoothing_is_torchs() -> None:
    logits, targets = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    expected = F.cross_entropy(logits, targets, label_smoothing=0.3)
    assert torch.allclose(smoothed(F.cross_entropy(logits, targets), logits, 0.3), expected)


def test_a_clipped_step_is_as_long_as_the_norm() -> None:
    norms: list[float] = []

    @dataclass
    class Diary(Technique):
        def after_backward(self, step: Step) -> None:
            grads = [p.grad for p in step.network.parameters() if p.grad is not None]
            norms.append(float(torch.stack([g.norm() for g in grads]).norm()))

    trained(TECHNIQUES.read("clipping:norm=0.05"), Diary())
    assert norms == pytest.approx([0.05] * 8, rel=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_mixed_images_have_their_share(share: float) -> None:
    images = torch.rand(6, 3, 8, 8)
    mixed, own = mixed_images(images, share, cut=False)
    assert own == share
    assert torch.allclose(mixed, share * images + (1 - share) * images.flip(0))
    cut, left = mixed_images(images, share, cut=True)
    mine, others = cut == images, cut == images.flip(0)
    assert bool((mine | others).all())
    assert left == pytest.approx(float(mine.double().mean()), abs=1e-6)


def test_the_loss_of_mixup_is_that_of_both_targets() -> None:
    """With a loss that is linear in one-hot targets, it is the loss of the mixed targets."""
    values: list[tuple[Tensor, Tensor]] = []

    @dataclass
    class Diary(Technique):
        def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
            share = step.techniques[0]._share  # type: ignore[attr-defined]
            one_hot = F.one_hot(batch[1], 3).float()
            values.append((value.detach(), F.cross_entropy(outputs, share * one_hot + (1 - share) * one_hot.flip(0))))
            return value

    trained(TECHNIQUES.read("mixup:alpha=1,cutmix_alpha=1"), Diary())
    assert len(values) == 8
    assert all(torch.allclose(found, expected, atol=1e-6) for found, expected in values)


def test_mixup_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="mixes nothing"):
        TECHNIQUES.read("mixup:alpha=0")


def test_each_phase_has_a_technique_of_its_own() -> None:
    """State of one phase is not the next one's, and two budgets do not share it."""
    technique = EMA(decay=0.5)
    before = copy.deepcopy(vars(technique))
    first, second = trained(technique), trained(technique)
    assert torch.equal(first[0].weight, second[0].weight)
    assert vars(technique) == before


@dataclass
class Extra(Technique):
    """A technique of a user's own, with a parameter that is trained and folded away."""

    start: float = option(0.0, "Where it starts.")

    def prepare(self, network: nn.Module, scene: Any) -> None:
        self._network, self._shift = network, nn.Parameter(torch.full((3,), self.start))

    def parameters(self) -> list[nn.Parameter]:
        return [self._shift]

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        return step.task_loss(outputs + self._shift, batch[1])

    def record(self) -> dict[str, Any]:
        return {"shift": float(self._shift.detach().norm())}

    def finish(self, network: nn.Module) -> None:
        with torch.no_grad():
            network[4].bias += self._shift

    def state_dict(self) -> dict[str, Any]:
        return {"shift": self._shift.detach()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._shift.data.copy_(state["shift"])


def test_a_users_own_technique_is_named_by_its_place_and_trains_what_it_brings() -> None:
    history: list[dict[str, Any]] = []
    own = TECHNIQUES.read(f"{__name__}:Extra:start=0.25")
    assert own == Extra(0.25)
    assert TECHNIQUES.name_of(own) == f"{__name__}:Extra"
    trained(own, history=history)
    assert history[-1]["shift"] != pytest.approx(0.25 * 3**0.5, abs=1e-4)


@pytest.mark.parametrize("registry", [TECHNIQUES, METHODS], ids=["techniques", "methods"])
def test_everything_of_ours_is_written_by_its_name(registry: Any) -> None:
    for name in registry.names():
        thing = registry.of(name)()
        assert registry.values(thing)["name"] == name  # and no place, whose code a folder would have to be trusted with
        assert not registry.names_code(registry.name_of(registry.read(registry.text(thing))))
