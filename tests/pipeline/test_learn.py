"""The whole job through the API, on real digits with few epochs."""

import copy
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import dnal
from dnal import data
from dnal.base.errors import UserError
from dnal.train.evaluate import accuracy
from dnal.train.listener import Listener
from dnal.train.loop import Diverged
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.tree import all_finite

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def loaders() -> data.Loaders:
    return data.loaders(data.load("digits", limit_train=400), 64)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return dnal.models.create("vgg_small", classes=10, input_shape=SHAPE)


class Diary(Listener):
    def __init__(self) -> None:
        self.settings: dict[str, Any] | None = None
        self.phases: list[tuple[str, int]] = []

    def start(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        self.phases.append((name, epochs))


class States(Checkpoints):
    """Remembers every checkpoint."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.trees: list[dict[str, Any]] = []

    def save(self, tree: dict[str, Any]) -> None:
        self.trees.append(copy.deepcopy(tree))


def test_budget_recipe_end_to_end(network: nn.Module, loaders: data.Loaders) -> None:
    original = copy.deepcopy(network)
    diary = Diary()
    learned = dnal.learn(
        network, loaders.train, loaders.val, loaders.test,
        budget="macs<=30%,params<=40%", epochs=(4, 5, 4), listener=diary,
    )  # fmt: skip
    x = torch.randn(1, *SHAPE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        learned.network(x)
    assert learned.figures.compact.macs == counter.get_total_flops() // 2 <= 0.3 * learned.figures.base.macs
    assert learned.figures.compact.params == sum(p.numel() for p in learned.network.parameters())
    for row, share in zip(learned.constraints, (0.3, 0.4), strict=True):
        assert row["got"] == learned.figures.compact.costs[row["cost"]] <= row["asked"]
        assert row["asked"] == pytest.approx(share * learned.figures.base.costs[row["cost"]])
    assert diary.phases == [("base", 4), ("architecture", 5), ("retrain", 4)]
    assert [r["phase"] for r in learned.history] == ["base"] * 4 + ["architecture"] * 5 + ["retrain"] * 4
    assert learned.history[8]["macs_hard"] <= 0.3 * learned.figures.base.macs
    assert learned.figures.compact.metric > 0.5
    assert not learned.network.training
    assert type(learned.network) is type(network)
    assert all(tensor.is_contiguous() for tensor in [*network.parameters(), *learned.network.parameters()])
    # The user's network was trained and left whole; the architecture applies to a fresh one.
    assert [p.shape for p in network.parameters()] == [p.shape for p in original.parameters()]
    fresh = dnal.compact(original, learned.architecture)
    fresh.load_state_dict(learned.network.state_dict())
    assert torch.allclose(fresh.eval()(x), learned.network(x), atol=1e-6)


def test_same_seed_same_network(loaders: data.Loaders) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        network = dnal.models.create("vgg_small", classes=10, input_shape=SHAPE)
        again = data.loaders(data.load("digits", limit_train=300), 64)
        learned = dnal.learn(network, again.train, again.val, epochs=(1, 2, 1), seed=3)
        states.append(learned.network.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_paper_recipe_freezes_weights_and_retrains_from_where_they_are(
    network: nn.Module, loaders: data.Loaders, tmp_path: Path
) -> None:
    diary, states = Diary(), States(tmp_path)
    learned = dnal.learn(
        network, loaders.train, loaders.val, method="paper:penalty=2e-3", epochs=(2, 5, 1), lr=0.02, listener=diary,
        checkpoints=states,
    )  # fmt: skip
    weights = {name for name, _ in network.named_parameters()}
    base = [tree["parts"]["network"] for tree in states.trees if tree["phase"] == "base"][-1]
    searching = [
        tree["parts"]["network"]
        for tree in states.trees
        if tree["phase"] == "architecture" and "network" in tree["parts"]
    ]
    assert len(searching) == 5
    for state in searching:
        assert all(torch.equal(base[name], state[f"network.{name}"]) for name in weights)
    assert [r["delta"] for r in learned.history[2:7]] == pytest.approx([10 ** (4 * k / 5) for k in range(1, 6)])
    assert diary.settings is not None
    assert not diary.settings["techniques"], "the paper does not distil"
    assert learned.figures.compact.macs < learned.figures.base.macs
    assert learned.constraints == []


def test_paper_recipe_with_a_budget_keeps_it_and_says_so(network: nn.Module, loaders: data.Loaders) -> None:
    with pytest.warns(UserWarning, match="above the budget macs<=20%"):
        learned = dnal.learn(
            network, loaders.train, loaders.val, budget="macs<=20%", method="paper:penalty=0", epochs=(1, 2, 1)
        )
    assert learned.figures.compact.macs <= 0.2 * learned.figures.base.macs


@pytest.mark.parametrize(
    ("method", "phases"), [("dnal", [("architecture", 2), ("retrain", 1)]), (None, [("retrain", 3)])]
)
def test_a_trained_base_skips_the_first_phase_and_is_left_alone(
    network: nn.Module, loaders: data.Loaders, method: str | None, phases: list[tuple[str, int]]
) -> None:
    diary = Diary()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    dnal.learn(
        network, loaders.train, loaders.val, base_is_trained=True, epochs=(9, 2, 1), method=method, listener=diary
    )
    assert [phase for phase in diary.phases if phase[1]] == phases
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert diary.settings is not None
    assert diary.settings["rates"][2] == pytest.approx(0.3 * diary.settings["lr"])


def test_own_loss_metric_and_alternating_steps(loaders: data.Loaders) -> None:
    """A regression with the user's own loss and metric, gates learnt on held-out data."""

    class Targets:
        def __init__(self, loader: Any) -> None:
            self.loader = loader

        def __len__(self) -> int:
            return len(self.loader)

        def __iter__(self) -> Any:
            for x, y in self.loader:
                yield x, y.float()

    def metric(network: nn.Module, loader: Any) -> float:
        with torch.no_grad():
            return -float(torch.stack([F.mse_loss(network(x).squeeze(1), y) for x, y in loader]).mean())

    torch.manual_seed(0)
    network = dnal.models.create("vgg_small", classes=1, input_shape=SHAPE)
    learned = dnal.learn(
        network, Targets(loaders.train), Targets(loaders.val), Targets(loaders.test), budget="params<=30%",
        loss=lambda outputs, targets: F.mse_loss(outputs.squeeze(1), targets), metric=metric,
        method="dnal:held_out=true", epochs=(6, 4, 6), lr=0.01,
    )  # fmt: skip
    assert learned.settings["techniques"] == []
    assert learned.figures.compact.params <= 0.3 * learned.figures.base.params
    assert learned.figures.compact.metric > -8.25, "better than always guessing the mean of 0..9"


def test_a_loss_that_becomes_nan_stops_and_keeps_the_last_good_state(
    network: nn.Module, loaders: data.Loaders, tmp_path: Path
) -> None:
    class Steps(Listener):
        done = 0

        def step(self, loss: float) -> None:
            self.done += 1

    steps = Steps()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        value = F.cross_entropy(outputs, targets)
        return value * math.nan if steps.done == len(loaders.train) + 2 else value

    with pytest.raises(Diverged, match="phase 'base', epoch 2, step 3"):
        dnal.learn(
            network, loaders.train, loaders.val, loss=loss, epochs=(3, 1, 1), checkpoints=tmp_path, listener=steps
        )
    tree = Checkpoints(tmp_path).load()
    assert tree is not None
    assert (tree["phase"], tree["position"]["epoch"]) == ("base", 1)
    assert all_finite(tree)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"budget": "macs<=0.01%"}, "below the least possible: this network reaches from"),
        ({"budget": "macs<=300%"}, "not below the base network"),
        ({"budget": "speed<=3"}, "unknown cost 'speed'"),
        ({"budget": "small"}, "is no budget"),
        ({"budget": 0.3}, "'0.3' is no budget; write for example 'macs<=30%'"),
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"method": "dnal:steps=both"}, "has no option 'steps'"),
        ({"epochs": 2}, "epochs is 3 or more"),
        ({"epochs": (1, 0, 1)}, "1 or more for the second, not 1,0,1"),
        ({"epochs": (-1, 1, 1)}, "epochs is 0 or more"),
        ({"lr": -0.1}, "lr is more than 0"),
        ({"lr": math.nan}, "lr is more than 0"),
        ({"techniques": ["emma"]}, "did you mean 'ema'"),
        ({"method": "paper:penalty=-1"}, "penalty is 0 or more"),
        ({"numerics": "precision=7-bit"}, "unknown precision '7-bit'"),
        ({"numerics": {"memory_format": "nhwc"}}, "memory_format is auto, channels_last or contiguous"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_starts(
    network: nn.Module, loaders: data.Loaders, arguments: dict[str, Any], sentence: str
) -> None:
    diary = Diary()
    with pytest.raises(UserError, match=sentence):
        dnal.learn(network, loaders.train, loaders.val, listener=diary, **arguments)
    assert diary.settings is None


X, Y = torch.rand(8, *SHAPE), torch.arange(8) % 10
PAIRS = [(X, Y)]


class Named(nn.Module):
    """Its logits in a dict, under a name of their own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"scores": self.network(x)}


def named_loss(outputs: dict[str, Tensor], targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs["scores"], targets)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"val": [(X, Y, Y)]}, "a pair of inputs and targets, or a mapping with 'labels', not a tuple of 3"),
        ({"test": [(X, Y, Y)]}, "a pair of inputs and targets, or a mapping with 'labels', not a tuple of 3"),
        ({"val": [{"pixel_values": X, "labels": Y}]}, "cannot be called .* a dict of pixel_values"),
        ({"val": [{"pixel_values": X, "label": Y}]}, "none of these is 'labels'"),
        ({"val": [({"image": X}, Y)]}, "cannot be called .* a dict of image"),
        ({"val": [((X, X), Y)]}, "cannot be called .* a tuple of 2"),
        ({"batch": lambda batch: batch[0]}, "batch must return a pair of inputs and targets, not a tensor"),
        ({"train": iter(PAIRS)}, "the training data have no length"),
        ({"val": iter(PAIRS), "method": "dnal:held_out=true"}, "the validation data have no length"),
        ({"train": []}, "the training data give no batch"),
        ({"val": []}, "the validation data give no batch"),
        ({"test": []}, "the test data give no batch"),
        ({"val": [(X, F.one_hot(Y).float())]}, "give a metric"),
        ({"test": [(X, Y.float())]}, "give a metric"),
        ({"val": [(X, Y + 5)]}, "a target is 10, where the network tells the classes 0 to 9 apart"),
    ],
)
def test_data_that_cannot_work_are_one_sentence_before_anything_starts(
    network: nn.Module, arguments: dict[str, Any], sentence: str
) -> None:
    diary = Diary()
    with pytest.raises(UserError, match=sentence):
        dnal.learn(network, **{"train": PAIRS, "val": PAIRS, "listener": diary, **arguments})
    assert diary.settings is None


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [((X, Y, Y), "a pair of inputs and targets"), ({"pixel_values": X, "labels": Y}, "cannot be called with")],
)
def test_training_batches_that_do_not_fit_are_told_before_the_first_step(
    network: nn.Module, batch: Any, sentence: str
) -> None:
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(UserError, match=sentence):
        dnal.learn(network, [batch], PAIRS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "not of a dict of scores; give a loss"),
        ({"loss": named_loss}, "give a metric"),
        (
            {"loss": named_loss, "metric": lambda network, loader: 0.5, "techniques": ["distillation"]},
            "leave distillation out",
        ),
    ],
)
def test_outputs_that_a_default_cannot_take_are_one_sentence(
    network: nn.Module, arguments: dict[str, Any], sentence: str
) -> None:
    diary = Diary()
    with pytest.raises(UserError, match=sentence):
        dnal.learn(Named(network), PAIRS, PAIRS, listener=diary, **arguments)
    assert diary.settings is None


def test_a_metric_that_leaves_the_network_in_eval_mode_changes_nothing(network: nn.Module) -> None:
    """Most metrics begin with ``network.eval()`` and restore nothing."""

    def metric(network: nn.Module, loader: Any) -> float:
        network.eval()
        return accuracy(network, loader)

    twin = copy.deepcopy(network)
    own = dnal.learn(network, PAIRS, PAIRS, metric=metric, epochs=(2, 2, 2))
    usual = dnal.learn(twin, PAIRS, PAIRS, metric=lambda *given: accuracy(*given), epochs=(2, 2, 2))
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), twin.state_dict().values(), strict=True)
    )
    assert [record["loss"] for record in own.history] == [record["loss"] for record in usual.history]


def test_a_network_that_is_frozen_as_a_whole_is_refused(network: nn.Module) -> None:
    network.requires_grad_(False)
    with pytest.raises(UserError, match="no parameter of this network has requires_grad"):
        dnal.learn(network, PAIRS, PAIRS)
    dnal.learn(network, PAIRS, PAIRS, method="uniform", epochs=(0, 0, 0))  # nothing is trained


def test_ignored_targets_of_dense_predictions_reach_the_result() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    masks = torch.randint(0, 3, (8, 8, 8))
    masks[:, :6] = -100
    learned = dnal.learn(network, [(X, masks)], [(X, masks)], budget="macs<=60%", epochs=(1, 1, 1))
    assert int(learned.confusion["compact"].sum()) == 8 * 2 * 8
    with torch.no_grad():
        right = learned.network(X).argmax(1) == masks
    assert learned.figures.compact.metric == pytest.approx(int(right.sum()) / (8 * 2 * 8))


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_gradients_are_taken_even_where_they_are_off(network: nn.Module, without: Any) -> None:
    before = copy.deepcopy(network.state_dict())
    with without():
        dnal.learn(network, PAIRS, PAIRS, epochs=(1, 1, 1))
        assert not torch.is_grad_enabled()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_weights_that_nobody_can_draw_anew_are_told_before_the_base_is_trained(loaders: data.Loaders) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = dnal.models.create("vgg_small", classes=10, input_shape=SHAPE)
            self.shift = nn.Parameter(torch.zeros(10))

        def forward(self, x: Tensor) -> Tensor:
            return self.inside(x) + self.shift

    network, diary = Shifted(), Diary()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(UserError, match=r"the network itself \(Shifted\) has no reset_parameters, so its 'shift'"):
        dnal.learn(network, loaders.train, loaders.val, reinitialize=True, epochs=(1, 1, 1), listener=diary)
    assert diary.phases == []
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_network_with_nothing_to_remove_is_refused(loaders: data.Loaders) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    reasons = r"it is the network's output \(1.weight\[0\] and 1 more\); it reads the network's input \(1.weight\[1\]\)"
    with pytest.raises(UserError, match=rf"nothing in this network can be removed: {reasons} \(Space.fixed"):
        dnal.learn(network, loaders.train, loaders.val)
    with pytest.raises(UserError, match=r"excluded by '\*' .*; include more or exclude less"):
        dnal.learn(dnal.models.create("vgg_small"), loaders.train, loaders.val, widths="exclude=*")
    with pytest.raises(UserError, match="can be removed: it has no parameters"):
        dnal.learn(nn.Flatten(), loaders.train, loaders.val)


@pytest.mark.parametrize(
    ("wrapped", "sentence"),
    [
        (torch.compile, "pass the network from before it"),
        (nn.DataParallel, "unwrap the network first"),
        (
            lambda network: nn.Sequential(network, nn.LazyLinear(10)),
            r"'1.weight' has no shape yet; run the network once",
        ),
    ],
)
def test_a_network_that_cannot_be_changed_is_refused_before_anything_starts(
    network: nn.Module, loaders: data.Loaders, wrapped: Callable[[nn.Module], nn.Module], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        dnal.learn(wrapped(network), loaders.train, loaders.val)


def test_a_network_that_is_compiled_in_place_is_learnt_like_any_other(
    network: nn.Module, loaders: data.Loaders
) -> None:
    network.compile(backend="eager")
    learned = dnal.learn(network, loaders.train, loaders.val, budget="macs<=50%", epochs=(1, 1, 1))
    assert learned.constraints[0]["holds"]
    assert type(learned.network) is type(network)


def test_no_warning_in_an_ordinary_run(network: nn.Module, loaders: data.Loaders) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dnal.learn(network, loaders.train, loaders.val, loaders.test, epochs=(1, 1, 1))


@pytest.mark.parametrize("method", ["dnal", "magnitude"])
def test_one_schedule_runs_through_all_phases(method: str, network: nn.Module, loaders: data.Loaders) -> None:
    learned = dnal.learn(network, *loaders, method=method, epochs=(2, 1, 3), schedule_over="job", lr=0.05)
    rates = [record["lr"] for record in learned.history]
    assert len(rates) == 6
    assert rates == sorted(rates, reverse=True), "warm-up ends within the first epoch"
    assert rates[1] > 0.03, "the base never settles"
    assert rates[-1] < 0.001
