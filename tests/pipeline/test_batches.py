"""Batches of any kind: the job on a tree of tensors is, bit for bit, that of the same network on one tensor."""

from __future__ import annotations

import copy
import functools
from collections import UserDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from dnal.train.evaluate import accuracy
from dnal.train.resume.checkpoint import Checkpoints
from independent import counted_macs, parameter_count
from killer import Killed, Killer

LEFT, RIGHT, CLASSES = 6, 4, 3
X = torch.randn(40, LEFT + RIGHT, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] > 0).long() + (X[:, LEFT] > 0).long()
A, B = X[:, :LEFT], X[:, LEFT:]
PIECES = [slice(0, 16), slice(16, 32), slice(32, 40)]
FLAT = [(X[rows], Y[rows]) for rows in PIECES]


class Two(nn.Module):
    """Two inputs, and batch norm over both."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(LEFT, 12), nn.Linear(RIGHT, 8)
        self.norm, self.head = nn.BatchNorm1d(20), nn.Linear(20, CLASSES)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head(self.norm(torch.cat([self.left(left), self.right(right)], 1)).relu())


class Joined(nn.Module):
    """The same on one tensor."""

    def __init__(self, two: nn.Module) -> None:
        super().__init__()
        self.two = two

    def forward(self, x: Tensor) -> Tensor:
        return self.two(x[:, :LEFT].contiguous(), x[:, LEFT:].contiguous())


class Outputs(dict[str, Any]):
    """As Hugging Face's: a mapping whose entries are attributes too."""


class OwnLoss(nn.Module):
    """Computes its loss where it gets labels, as Hugging Face's networks do; it counts how often it did."""

    def __init__(self, two: nn.Module, smoothing: float = 0.0) -> None:
        super().__init__()
        self.two, self.smoothing, self.computed = two, smoothing, 0

    def forward(self, left: Tensor, right: Tensor, labels: Tensor | None = None) -> Outputs:
        logits = self.two(left, right)
        if labels is None:
            return Outputs(loss=None, logits=logits)
        self.computed += self.training
        return Outputs(loss=F.cross_entropy(logits, labels, label_smoothing=self.smoothing), logits=logits)


def two(seed: int = 0) -> Two:
    torch.manual_seed(seed)
    return Two()


def named(rows: slice) -> dict[str, Tensor]:
    return {"left": A[rows], "right": B[rows], "labels": Y[rows]}


def job(network: nn.Module, data: Any, **options: Any) -> dnal.Learned:
    settings: dict[str, Any] = {"budget": "params<=60%", "epochs": (2, 2, 2), "lr": 0.05, **options}
    return dnal.learn(network, data, data, **settings)


@functools.cache
def flat(**options: Any) -> dnal.Learned:
    return job(Joined(two()), FLAT, **options)


def same(one: dnal.Learned, other: dnal.Learned) -> None:
    tensors, others = list(one.network.state_dict().values()), list(other.network.state_dict().values())
    assert [t.shape for t in tensors] == [t.shape for t in others]
    assert all(torch.equal(a, b) for a, b in zip(tensors, others, strict=True))
    assert parameter_count(one.network) <= 0.6 * one.figures.base.params
    for which in ("base", "compact"):
        mine, theirs = getattr(one.figures, which), getattr(other.figures, which)
        assert (mine.macs, mine.params, mine.metric) == (theirs.macs, theirs.params, theirs.metric)
    assert [{**r, "seconds": 0} for r in one.history] == [{**r, "seconds": 0} for r in other.history]


WAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "tuple": ([((A[rows], B[rows]), Y[rows]) for rows in PIECES], {}),
    "list": ([[[A[rows], B[rows]], Y[rows]] for rows in PIECES], {}),
    "mapping": ([({"right": B[rows], "left": A[rows]}, Y[rows]) for rows in PIECES], {}),
    "labels": ([named(rows) for rows in PIECES], {}),
    "no dict": ([UserDict(named(rows)) for rows in PIECES], {}),  # such as BatchEncoding
    "function": (
        [(A[rows], B[rows], Y[rows]) for rows in PIECES],
        {"batch": lambda batch: (batch[:2], batch[2])},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_however_two_inputs_are_given(way: str) -> None:
    data, options = WAYS[way]
    same(job(two(), data, **options), flat())


@pytest.mark.parametrize(
    "method", ["dnal:held_out=true", "obs", "tas", "taylor", "random-search:candidates=3", "paper"]
)
def test_every_kind_of_method_takes_them(method: str) -> None:
    budget = {"budget": None} if method == "paper" else {}
    one, other = job(two(), WAYS["labels"][0], method=method, **budget), flat(method=method, **budget)
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("techniques", [("ema",), ("swa:start=0.1",), ("label-smoothing",), ("clipping",)])
def test_techniques_act_on_them_alike(techniques: tuple[str, ...]) -> None:
    same(job(two(), WAYS["labels"][0], techniques=techniques), flat(techniques=techniques))
    network = OwnLoss(two())
    same(job(network, WAYS["labels"][0], techniques=techniques), flat(techniques=techniques))


def test_mixup_says_that_it_mixes_one_tensor() -> None:
    with pytest.raises(dnal.UserError, match="mixup is of batches whose inputs are one tensor"):
        job(two(), WAYS["tuple"][0], techniques=["mixup"])


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_network_that_computes_its_own_loss_learns_by_it(smoothing: float) -> None:
    """The base teaches its logits, as with the default loss."""
    network = OwnLoss(two(), smoothing)
    found = job(network, WAYS["labels"][0])
    assert network.computed >= 2 * len(PIECES)
    if not smoothing:
        same(found, flat())
        return
    smoothed = functools.partial(F.cross_entropy, label_smoothing=smoothing)
    same(found, flat(loss=smoothed, techniques=("distillation",)))


def test_labels_are_no_part_of_what_is_deployed() -> None:
    found = job(OwnLoss(two()), WAYS["labels"][0])
    assert found.settings["input_shape"] == {"left": [LEFT], "right": [RIGHT]}
    assert found.figures.base.macs == LEFT * 12 + RIGHT * 8 + 20 * CLASSES
    assert found.figures.compact.macs == counted_macs(Joined(copy.deepcopy(found.network.two)), X[:2], batch=2)


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.kind, self.size = nn.Linear(LEFT + RIGHT, 16), nn.Linear(16, CLASSES), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.body(x).relu()
        return {"kind": self.kind(x), "size": self.size(x)}


class OneHead(nn.Module):
    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        found = self.heads(x)
        return torch.cat([found["kind"], found["size"]], 1)


def test_two_heads_and_their_targets() -> None:
    def loss(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs["kind"], targets["kind"]) + F.mse_loss(outputs["size"], targets["size"])

    def joint(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs[:, :CLASSES], targets[:, 0].long()) + F.mse_loss(
            outputs[:, CLASSES:], targets[:, 1:]
        )

    def seen(network: nn.Module, loader: Any) -> float:
        assert loader is data, "a metric gets what the user gave"
        with torch.no_grad():
            found = [network.cpu()(x)["kind"].argmax(1) == targets["kind"] for x, targets in loader]
        return float(torch.cat(found).float().mean())

    def seen_joint(network: nn.Module, loader: Any) -> float:
        with torch.no_grad():
            found = [network.cpu()(x)[:, :CLASSES].argmax(1) == targets[:, 0] for x, targets in loader]
        return float(torch.cat(found).float().mean())

    size = X[:, 1:2] * 0.5
    data = [(X[rows], {"kind": Y[rows], "size": size[rows]}) for rows in PIECES]
    stacked = [(X[rows], torch.cat([Y[rows, None].float(), size[rows]], 1)) for rows in PIECES]
    torch.manual_seed(0)
    heads = Heads()
    found = job(copy.deepcopy(heads), data, loss=loss, metric=seen, numerics="precision=32-true")
    reference = job(OneHead(heads), stacked, loss=joint, metric=seen_joint, numerics="precision=32-true")
    tensors, others = found.network.state_dict().values(), reference.network.state_dict().values()
    for one, other in zip(tensors, others, strict=True):  # the gradients of both heads are summed in another order
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert [found.figures.base.metric, found.figures.compact.metric] == [
        reference.figures.base.metric, reference.figures.compact.metric,
    ]  # fmt: skip


class Detector(nn.Module):
    """As torchvision's: a list of images and their targets -> a dict of losses in training, a dict per image else."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3, 2), nn.ReLU(), nn.Conv2d(12, 16, 3), nn.ReLU())
        self.box, self.label = nn.Linear(16, 4), nn.Linear(16, 2)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        features = torch.stack([self.body(image[None]).mean((0, 2, 3)) for image in images])
        boxes, labels = self.box(features), self.label(features)
        if not self.training:
            return [{"boxes": b[None], "scores": s.softmax(0)} for b, s in zip(boxes, labels, strict=True)]
        assert targets is not None
        return {
            "box": F.l1_loss(boxes, torch.stack([target["boxes"][0] for target in targets])),
            "label": F.cross_entropy(labels, torch.cat([target["labels"] for target in targets])),
        }


def scenes(count: int) -> list[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    generator = torch.Generator().manual_seed(3)

    def one() -> tuple[Tensor, dict[str, Tensor]]:
        image = torch.rand(3, 12, 14, generator=generator)
        return image, {"boxes": torch.rand(1, 4, generator=generator), "labels": torch.tensor([1])}

    return [tuple(map(list, zip(*(one() for _ in range(size)), strict=True))) for size in (count, 4, 3)]  # type: ignore[misc]


@pytest.mark.parametrize("given", [True, False])
def test_a_detector_of_lists_of_images_and_boxes(given: bool) -> None:
    torch.manual_seed(0)
    network, data = Detector(), scenes(4)
    example = {"example_inputs": ([torch.rand(3, 12, 14)],)} if given else {}
    found = job(
        network, data, budget="macs<=50%", batch=lambda batch: (batch, None), metric=lambda *_: 0.5,
        loss=lambda outputs, targets: sum(outputs.values()), **example,
    )  # fmt: skip
    assert found.figures.base.macs == 5 * 6 * 12 * 27 + 3 * 4 * 16 * 12 * 9 + 16 * 6
    assert found.space.full_cost["macs"] == found.figures.base.macs, "of one image"
    assert found.figures.compact.macs <= 0.5 * found.figures.base.macs
    assert found.history[1]["loss"] < found.history[0]["loss"]
    assert len(found.network(scenes(5)[0][0])) == 5


def test_a_list_of_images_without_a_function_is_told_what_to_give() -> None:
    for images, sentence in ((4, "cannot be called"), (2, "the network fails")):
        with pytest.raises(
            dnal.UserError, match=rf"{sentence}.* a list of {images} .*a tuple or list is its arguments"
        ):
            job(Detector(), scenes(images), loss=lambda outputs, targets: outputs, metric=lambda *_: 0.5)


@pytest.mark.parametrize("technique", ["ema", "swa:start=0.1"])
@pytest.mark.parametrize("at", [1, 4, 8, 13, 17])
def test_killed_after_any_step_it_goes_on(technique: str, at: int, tmp_path: Path) -> None:
    data, every = WAYS["labels"][0], Checkpoints(tmp_path, 2)
    with pytest.raises(Killed):
        job(OwnLoss(two()), data, techniques=[technique], checkpoints=every, listener=Killer(at))
    assert Checkpoints(tmp_path).load() is not None
    again = job(OwnLoss(two(seed=1)), data, techniques=[technique], checkpoints=tmp_path)
    same(again, flat(techniques=(technique,)))


def test_a_budget_on_memory_is_of_all_inputs() -> None:
    found = job(two(), WAYS["mapping"][0], budget="memory<=60%")
    assert found.constraints[0]["holds"]
    # both inputs, and what the layers, the join of both, or the norm after it hold
    assert found.figures.base.memory == 4 * (LEFT + RIGHT + 20 + 20)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch-cpu", "onnxruntime-cpu"])
@pytest.mark.parametrize("way", ["tuple", "mapping"])
def test_a_budget_on_latency_is_of_all_inputs(way: str, backend: str) -> None:
    if backend == "onnxruntime-cpu":
        pytest.importorskip("onnxruntime")

    class Wide(Two):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(LEFT, 1500), nn.Linear(RIGHT, 500)
            self.norm, self.head = nn.BatchNorm1d(2000), nn.Sequential(nn.Linear(2000, 1000), nn.Linear(1000, CLASSES))

    found = job(
        Wide(), WAYS[way][0], budget="latency<=70%", epochs=(1, 1, 1), deployment=f"backend={backend}"
    )  # fmt: skip
    assert found.figures.compact.macs < 0.95 * found.figures.base.macs
    assert min(found.figures.base.latency_ms, found.figures.compact.latency_ms, found.constraints[0]["predicted"]) > 0


def test_the_accuracy_of_such_a_loader_is_that_of_the_pairs() -> None:
    network = two()
    expected = accuracy(Joined(network), FLAT)  # type: ignore[arg-type]
    assert accuracy(network, WAYS["labels"][0]) == accuracy(OwnLoss(network), WAYS["labels"][0]) == expected


BAD = torch.where(torch.arange(40)[:, None] == 21, torch.nan, B)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: {"left": A[rows], "right": BAD[rows], "labels": Y[rows]}, "NaN .* first in example 21"),
        (lambda rows: {"left": A[rows], "right": B[rows], "labels": Y[rows] + 5}, "a target of the training data is 5"),
        (lambda rows: {"left": A[rows], "right": B[rows].double(), "labels": Y[rows]}, r"inputs of float64.*\(16, 4\)"),
        (lambda rows: {"left": A[rows], "wrong": B[rows], "labels": Y[rows]}, "takes left, right"),
        (lambda rows: {"left": A[rows], "right": B[rows]}, "none of these is 'labels'"),
    ],
)
def test_wrong_training_data_are_told_before_the_first_step(
    change: Callable[[slice], dict[str, Tensor]], sentence: str
) -> None:
    network = two()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(dnal.UserError, match=sentence):
        dnal.learn(network, [change(rows) for rows in PIECES], WAYS["labels"][0], epochs=(1, 1, 1))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_last_batch_of_one_is_left_out() -> None:
    data = [*WAYS["labels"][0], {name: tensor[:1] for name, tensor in named(PIECES[0]).items()}]
    with pytest.warns(UserWarning, match="the last batch has 1 example"):
        found = dnal.learn(two(), data, data[:3], budget="params<=60%", epochs=(2, 2, 2), lr=0.05)
    same(found, flat())


class Words(nn.Module):
    """Predicts the next word: its labels are the words themselves, moved by one in its loss."""

    def __init__(self, moved: bool) -> None:
        super().__init__()
        self.embed, self.hidden, self.head, self.moved = nn.Embedding(7, 8), nn.Linear(8, 12), nn.Linear(12, 7), moved

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Outputs:
        logits = self.head(self.hidden(self.embed(input_ids)).relu())
        if labels is None:
            return Outputs(logits=logits)
        told, meant = (logits[:, :-1], labels[:, 1:]) if self.moved else (logits, labels)
        return Outputs(loss=F.cross_entropy(told.flatten(0, 1), meant.flatten()), logits=logits)


def test_each_position_has_its_label_or_a_metric_is_asked_for() -> None:
    words = torch.randint(7, (12, 5), generator=torch.Generator().manual_seed(1))
    data = [{"input_ids": words, "labels": words}]
    torch.manual_seed(0)
    found = dnal.learn(Words(moved=False), data, data, budget="params<=80%", epochs=(20, 1, 20), lr=0.5)
    assert found.figures.base.metric > 0.9
    with pytest.raises(dnal.UserError, match=r"not the cross entropy of each position.* give a metric"):
        dnal.learn(Words(moved=True), data, data, epochs=(1, 1, 1))


@pytest.mark.parametrize("to", ["pt2", "onnx"])
def test_what_comes_out_is_exported_with_its_inputs(to: str, tmp_path: Path) -> None:
    """In whatever order they are named; the file is compared with the network before it is there."""
    if to == "onnx":
        for package in ("onnx", "onnxruntime", "onnxscript"):
            pytest.importorskip(package)
    network = job(two(), WAYS["tuple"][0]).network
    for number, inputs in enumerate(((A[:2], B[:2]), {"right": B[:2], "left": A[:2]})):
        file = dnal.export.export(network, inputs, tmp_path / f"{number}.{to}", to)
        assert file.path.is_file()
        assert file.difference < 1e-5
    with pytest.raises(dnal.UserError, match="a list of images cannot be a file"):
        dnal.export.export(Detector().eval(), (scenes(2)[0][0],), tmp_path / f"lists.{to}", to)
