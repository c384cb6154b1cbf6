"""Guidance: CKA and RSA against their formulas, the layers that are compared, and a guide in training."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.base.errors import UserError
from dnal.techniques.guidance import Guidance, Guide, layer_map, linear_cka, rsa
from dnal.techniques.guidance.activations import Said, each_example
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.tree import packed, unpacked
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique
from killer import Killed, Killer


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cka_of_three_numbers_is_their_squared_correlation() -> None:
    x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [2.0], [4.0]])
    assert float(linear_cka(x, y)) == pytest.approx(27 / 28)


def test_cka_is_the_formula_of_the_published_code() -> None:
    x, y = drawn(9, 4), drawn(9, 2, 3, 3, seed=1)
    flat = y.flatten(1)
    k, l_, h = x @ x.T, flat @ flat.T, torch.eye(9, dtype=torch.float64) - 1 / 9

    def hsic(a: Tensor, b: Tensor) -> Tensor:
        return ((h @ a @ h) * (h @ b @ h)).sum()

    expected = hsic(k, l_) / (hsic(k, k).sqrt() * hsic(l_, l_).sqrt())
    assert torch.allclose(linear_cka(x, y), expected, atol=1e-12)


def test_unbiased_cka_is_the_formula_of_song() -> None:
    x, y, n = drawn(7, 4) + 3, drawn(7, 5, seed=1), 7

    def hsic(a: Tensor, b: Tensor) -> Tensor:
        a, b = (each @ each.T * (1 - torch.eye(n, dtype=torch.float64)) for each in (a, b))
        one = torch.ones(n, dtype=torch.float64)
        whole = (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
        return ((a @ b).trace() + whole - 2 / (n - 2) * (one @ a @ b @ one)) / (n * (n - 3))

    expected = hsic(x, y) / (hsic(x, x) * hsic(y, y)).sqrt()
    assert torch.allclose(linear_cka(x, y, unbiased=True), expected, atol=1e-12)


def test_only_the_biased_cka_finds_independent_wide_layers_alike() -> None:
    pairs = [(drawn(16, 400, seed=seed), drawn(16, 400, seed=1000 + seed)) for seed in range(300)]
    biased, unbiased = (
        np.array([float(linear_cka(*pair, unbiased=which)) for pair in pairs]) for which in (False, True)
    )
    assert biased.min() > 0.8
    assert abs(unbiased.mean()) < 0.02


@pytest.mark.parametrize("unbiased", [False, True])
def test_cka_is_one_with_itself_turned_scaled_and_moved(unbiased: bool) -> None:
    x = drawn(12, 6)
    turned, _ = torch.linalg.qr(drawn(6, 6, seed=2))
    for other in (x, x @ turned, -7 * x, x + drawn(1, 6, seed=3), torch.cat([x, 0 * x], 1)):
        assert float(linear_cka(x, other, unbiased=unbiased)) == pytest.approx(1, abs=1e-9)
    stretched = x * torch.tensor([10.0, 1, 1, 1, 1, 1], dtype=torch.float64)
    assert float(linear_cka(x, stretched, unbiased=unbiased)) < 0.8, "it is not invariant to every linear map"


@pytest.mark.parametrize("similarity", [linear_cka, lambda x, y: linear_cka(x, y, unbiased=True), rsa])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e18])
def test_dead_and_huge_layers_have_gradients_that_are_numbers(similarity: Any, scale: float) -> None:
    x, y = (scale * drawn(8, 5).float()).requires_grad_(), drawn(8, 3, seed=1).float()
    value = similarity(x, y)
    value.backward()
    assert bool(value.isfinite())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_rsa_is_the_correlation_of_cosines() -> None:
    x, y = drawn(6, 4), drawn(6, 2, 3, seed=1)

    def cosines(a: Tensor) -> list[float]:
        rows = [row.flatten().numpy() for row in a]
        return [
            float(rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j]))
            for i in range(6) for j in range(i + 1, 6)
        ]  # fmt: skip

    assert float(rsa(x, y)) == pytest.approx(np.corrcoef(cosines(x), cosines(y))[0, 1])
    assert float(rsa(x, 5 * x)) == pytest.approx(1)


@pytest.mark.parametrize("wrong", [(4, 5), (1, 1)])
def test_what_cannot_be_compared_is_refused(wrong: tuple[int, int]) -> None:
    for similarity in (linear_cka, rsa):
        with pytest.raises(UserError, match="example by example"):
            similarity(torch.zeros(wrong[0], 2), torch.zeros(wrong[1], 2))


def test_layers_are_mapped_evenly_and_the_last_one_counts() -> None:
    assert layer_map(4, 4) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert layer_map(3, 9) == {0: 0, 4: 1, 8: 2}
    assert layer_map(1, 5) == {0: 0}
    assert layer_map(6, 1) == {0: 5}
    for guide in range(1, 12):
        for network in range(1, 12):
            found = layer_map(guide, network)
            step = (network - 1) / (guide - 1) if guide > 1 else 1
            by_hand: dict[int, int] = {}
            for layer in range(guide):
                by_hand[min(round(layer * step), network - 1)] = layer
            assert found == by_hand
            assert found[max(found)] == guide - 1


def cnn(width: int = 6, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(32, 3),
    )  # fmt: skip


def mlp(depth: int = 4) -> nn.Sequential:
    torch.manual_seed(1)
    hidden = [each for _ in range(depth) for each in (nn.Linear(36, 36), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(36, 3))


def hooks_of(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


IMAGES = drawn(16, 1, 6, 6, seed=4).float()


def test_the_distance_is_that_of_the_layers_by_hand() -> None:
    network, guide = mlp(), cnn()
    of = Guide(network, guide)
    network(IMAGES)
    each = of.each(IMAGES)
    guide.eval()
    mine, its = [network[: 2 * n](IMAGES) for n in (1, 2, 3, 4)], [guide[:1](IMAGES), guide[:4](IMAGES)]
    expected = {0: 1 - linear_cka(mine[0], its[0]), 3: 1 - linear_cka(mine[3], its[1])}
    assert each.keys() == expected.keys()
    assert all(torch.allclose(each[layer], expected[layer], atol=1e-5) for layer in expected)
    network(IMAGES)
    assert torch.allclose(of.distance(IMAGES), expected[0] + expected[3], atol=1e-5)


def test_nothing_reaches_the_guide_and_its_logits_do_not_count() -> None:
    network, guide = mlp(), cnn().train()
    before, value = copy.deepcopy(guide.state_dict()), {}
    for last in (1.0, 100.0):
        with torch.no_grad():
            guide[-1].weight.mul_(last)
        of = Guide(network, guide)
        network(IMAGES)
        found = of.distance(IMAGES)
        found.backward()
        value[last] = float(found.detach())
        of.close()
    assert value[1.0] == value[100.0]
    assert all(parameter.grad is None for parameter in guide.parameters())
    assert network[1].weight.grad is not None
    assert bool(network[1].weight.grad.any())
    assert network[-1].weight.grad is None, "nor do the network's own"
    assert guide.training
    after = guide.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if not name.startswith("6."))
    assert hooks_of(network) == hooks_of(guide) == 0


def test_an_evaluation_between_two_steps_changes_nothing() -> None:
    network = mlp()
    of = Guide(network, cnn())
    network(IMAGES)
    with torch.no_grad():
        network.eval()(IMAGES)
    with pytest.raises(UserError, match="call the network on the batch first"):
        of.distance(IMAGES)
    network.train()(IMAGES)
    first = float(of.distance(IMAGES).detach())
    network(IMAGES[:8])
    network(IMAGES)  # only the last pass counts
    assert float(of.distance(IMAGES).detach()) == first


def test_fewer_than_four_examples_add_nothing() -> None:
    network = mlp()
    of = Guide(network, cnn(), "unbiased-cka")
    network(IMAGES[:3])
    assert float(of.distance(IMAGES[:3])) == 0


def test_the_hooks_survive_compiling_and_distributing(tmp_path: Path) -> None:
    network = mlp()
    of = Guide(network, cnn())
    network(IMAGES)
    expected = of.distance(IMAGES)
    expected.backward()
    gradient = network[1].weight.grad.clone()

    compiled = torch.compile(network, backend="eager")
    for _ in range(2):
        compiled(IMAGES)
        assert torch.allclose(of.distance(IMAGES), expected, atol=1e-6)

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        distributed = nn.parallel.DistributedDataParallel(network)
        network.zero_grad()
        outputs = distributed(IMAGES)
        (of.distance(IMAGES) + 0 * outputs.sum()).backward()
        assert torch.allclose(network[1].weight.grad, gradient, atol=1e-6)
    finally:
        torch.distributed.destroy_process_group()


class Reader(nn.Module):
    """A recurrent network over (N, L, 5) that calls its layers with the positions first, or with the examples."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.second = (nn.GRU(n, 7, batch_first=batch_first) for n in (5, 7))
        self.head, self.batch_first = nn.Linear(7, 3), batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.second(self.first(x)[0])[0]
        return self.head(x if self.batch_first else x.transpose(0, 1))


@pytest.mark.parametrize("length", [9, 16])
def test_a_transformer_guides_a_recurrent_network_however_its_batches_lie(length: int) -> None:
    words = drawn(16, length, 5, seed=6).float()
    torch.manual_seed(3)
    block = nn.TransformerEncoderLayer(5, 1, 8, dropout=0.0, batch_first=True)
    guide = nn.Sequential(nn.TransformerEncoder(block, 2, enable_nested_tensor=False), nn.Linear(5, 3)).eval()
    found = []
    for batch_first in (True, False):
        network = Reader(batch_first=batch_first)
        of = Guide(network, guide)
        network(words)
        found.append(of.each(words))
        sum(found[-1].values(), torch.zeros(())).backward()
        assert network.second.weight_hh_l0.grad is not None
    assert found[0].keys() == found[1].keys() == {0, 1}
    assert all(torch.allclose(found[0][layer], found[1][layer], atol=1e-5) for layer in found[0])


def test_windows_of_an_example_are_its_features() -> None:
    windows = drawn(12, 4, 2)
    assert torch.equal(each_example(Said(windows, False), 3), windows.reshape(3, 32))
    assert each_example(Said(windows, False), 5) is None
    assert torch.equal(each_example(Said(windows, True), 4), windows.movedim(1, 0).reshape(4, 24))


def trained(*techniques: Technique, epochs: int = 2, phase: str = "retrain", **context: Any) -> nn.Module:
    torch.manual_seed(3)
    network, draw = mlp(), torch.Generator().manual_seed(1)
    loader = DataLoader(
        TensorDataset(torch.randn(32, 1, 6, 6, generator=draw), torch.randint(3, (32,), generator=draw)), 8
    )
    around = Context(Fabric(accelerator="cpu", devices=1), loader, F.cross_entropy, **context)
    run_phase(Phase(phase, epochs, 0.05, techniques=techniques), network, around)
    return network.eval()


@dataclass
class Diary(Technique):
    """The loss of each step, and how many hooks there are after it."""

    def prepare(self, network: nn.Module, scene: Any) -> None:
        SEEN.clear()

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        task = F.cross_entropy(outputs, batch[1])
        SEEN.append((float((value - task).detach()), hooks_of(step.network)))
        return value


SEEN: list[tuple[float, int]] = []


def test_the_loss_is_the_weighted_distance_and_ends_after_its_steps() -> None:
    guide, history = cnn(), []
    trained(Guidance(network=guide, steps=3, weight=2.0), Diary(), history=history)
    added, hooks = (list(each) for each in zip(*SEEN, strict=True))
    assert len(added) == 8
    of = Guide(network := mlp(), guide)
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(32, 1, 6, 6, generator=draw)[:8]
    network(images)
    assert added[0] == pytest.approx(2 * float(of.distance(images).detach()), abs=1e-5)
    assert all(value > 0.01 for value in added[:3])
    assert added[3:] == [0] * 5
    assert hooks == [6, 6, 0, 0, 0, 0, 0, 0], "the network and its five layers"
    assert history[0]["distance_to_guide"] == pytest.approx(sum(added[:3]) / 3 / 2, abs=1e-5)


def test_a_guide_brings_the_layers_nearer() -> None:
    history: list[dict[str, Any]] = []
    trained(Guidance(network=cnn(), weight=5.0), epochs=30, history=history)
    first, last = history[0]["distance_to_guide"], history[-1]["distance_to_guide"]
    assert last < 0.7 * first


def test_without_a_guide_the_base_guides_and_only_the_retraining() -> None:
    base = cnn().eval()
    plain = trained(base=base)
    guided, by_module = trained(Guidance(), base=base), trained(Guidance(guide=base), base=base)
    assert not torch.equal(plain[1].weight, guided[1].weight)
    assert torch.equal(by_module[1].weight, guided[1].weight)
    # A benchmark retrains at several rates, and rounds of masks retrain in the phase that chooses.
    for name in ("retrain at 0.1", "architecture"):
        assert torch.equal(trained(Guidance(), base=base, phase=name)[1].weight, guided[1].weight)
    assert torch.equal(trained(Guidance(), phase="base")[1].weight, plain[1].weight)
    assert not torch.equal(trained(Guidance(network=base), phase="base")[1].weight, plain[1].weight)


@pytest.mark.parametrize(
    ("guide", "said"),
    [("resnt20", "no folder of a run, and no model"), ("guides:made", "code of your own"), ("module", "no file holds")],
)
def test_a_guide_that_there_is_not_is_refused_before_training(guide: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        learned(guide, listener=Killer(0))


def test_guides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="the guide has 1 in all"):
        trained(Guidance(network=nn.Sequential(nn.Flatten(), nn.Linear(36, 3))))
    with pytest.raises(UserError, match="cannot be called with the training data"):
        trained(Guidance(network=nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))))


@pytest.mark.parametrize(
    ("guide", "said"),
    [
        (nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)), "cannot be called with the training data"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "the guide has 1 in all"),
    ],
)
def test_a_guide_that_does_not_fit_is_refused_before_there_is_anything_to_go_on_with(
    guide: nn.Module, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        learned(guide, checkpoints=tmp_path / "kept")
    assert not list(tmp_path.glob("kept/*"))


def learned(guide: str | nn.Module | None, **more: Any) -> dnal.Learned:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=192), 48)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    return dnal.learn(
        network, data.train, data.val, data.test, budget="macs<=40%", techniques=[Guidance(guide=guide)],
        epochs=(1, 1, 2), without=["distillation"], **more,
    )  # fmt: skip


def test_learn_takes_a_model_a_run_and_a_module_and_leaves_an_ordinary_network(finished: Path) -> None:
    found = {}
    guides = {"none": None, "model": "vgg_small", "run": str(finished), "module": cnn_of_digits()}
    for name, guide in guides.items():
        found[name] = learned(guide)
        assert found[name].figures.compact.costs["macs"] <= 0.4 * found[name].figures.base.costs["macs"]
        assert hooks_of(found[name].network) == 0
        kinds = {type(module) for module in found[name].network.modules()}
        assert all(kind.__module__.startswith("torch.nn") for kind in kinds)
        guided = {record["phase"] for record in found[name].history if "distance_to_guide" in record}
        assert guided == ({"retrain"} if name == "none" else {"base", "retrain"})
        said = guides[name] if name != "module" else "module"
        assert [each["guide"] for each in found[name].settings["techniques"]] == [said]
    weights = [learned.network.state_dict()["0.weight"].norm() for learned in found.values()]
    assert len({float(each) for each in weights}) == 4


def cnn_of_digits() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def test_what_is_kept_of_the_distance_has_all_of_its_digits() -> None:
    of, again = Guidance(network=cnn().double()), Guidance(network=cnn().double())
    for one in (of, again):
        one.data([(IMAGES.double(), torch.zeros(16, dtype=torch.long))], None)  # type: ignore[arg-type]
        network = mlp().double()
        one.prepare(network, Scene("base", 1, 8, None, F.cross_entropy))
    network = mlp().double()
    of._guide = Guide(network, cnn().double())
    network(IMAGES.double())
    of.loss(torch.zeros(()), (IMAGES.double(), None), None, None)  # type: ignore[arg-type]
    again.load_state_dict(unpacked(*packed(of.state_dict())))
    mean = of.record()["distance_to_guide"]
    assert again.record()["distance_to_guide"] == mean
    assert float(torch.tensor(mean)) != mean  # more digits than float32 holds


def test_a_job_with_a_guide_by_name_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    for at in (2, 9):
        with pytest.raises(Killed):
            learned("vgg_small", checkpoints=Checkpoints(tmp_path, 2), listener=Killer(at))
    again, whole = learned("vgg_small", checkpoints=tmp_path), learned("vgg_small")
    assert all(torch.equal(again.network.state_dict()[k], v) for k, v in whole.network.state_dict().items())
    assert [r.get("distance_to_guide") for r in again.history] == [r.get("distance_to_guide") for r in whole.history]
