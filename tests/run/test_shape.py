"""shape.txt: what is left of a network, as text, and the network that is built from it."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.models import create
from dnal.run.files import SHAPE
from dnal.run.shape import Model, Shape, built, read_shape, shape_of, written
from dnal.space.surgery.bypass import Replacement
from dnal.space.surgery.sizes import Argument, Attribute, Change
from dnal.supernet import blocks
from independent import difference, randomise, run

TINY = Model("supernet/tiny", 10, (1, 8, 8))
NETWORKS = [
    TINY,
    pytest.param(Model("supernet/resnet_like", 10, (3, 32, 32)), marks=pytest.mark.slow),
    Model("cifar/resnet20", 10, (3, 32, 32)),
    *(
        pytest.param(Model(name, 5, (3, side, side)), marks=pytest.mark.slow)
        for name, side in [
            ("cifar/mobilenet_v2", 32),
            ("torchvision/resnext50_32x4d", 64),
            ("torchvision/densenet121", 64),
            ("torchvision/shufflenet_v2_x0_5", 64),
            ("torchvision/swin_t", 64),
            ("timm/resnetv2_50", 64),
            ("timm/convnext_atto", 64),
            ("timm/deit_tiny_patch16_224", 224),
        ]
    ),
]


def network_of(model: Model) -> nn.Module:
    torch.manual_seed(0)
    return create(model.name, classes=model.classes, input_shape=model.input_shape)


@pytest.mark.parametrize("model", NETWORKS, ids=lambda model: model.name)
def test_the_network_of_the_text_is_the_compact_one_without_its_weights(model: Model, tmp_path: Path) -> None:
    network, images = network_of(model), torch.rand(2, *model.input_shape)
    space = dnal.Space.of(network, images, depth=True)
    for seed in range(2):
        keep, branches = torch.rand(2, generator=torch.Generator().manual_seed(seed)).tolist()
        architecture = dnal.Architecture.random(space, 0.2 + 0.8 * keep, seed, branches=branches)
        small = randomise(dnal.compact(network, architecture))
        shape = shape_of(architecture, model)
        path = tmp_path / f"{seed}.txt"
        path.write_text(written(shape, blocks(network, architecture)))
        assert read_shape(path) == shape
        again = dnal.load(path)
        expected, found = small.state_dict(), again.state_dict()
        assert {name: tensor.shape for name, tensor in found.items()} == {n: t.shape for n, t in expected.items()}
        assert [type(module).__name__ for module in again.modules()] == [type(m).__name__ for m in small.modules()]
        again.load_state_dict(expected)
        assert difference(run(small.eval(), images), run(again.eval(), images)) == 0


@functools.cache
def tiny_text() -> str:
    """A supernet's text in which a candidate, a channel of the stem and nothing else is gone."""
    network = network_of(TINY)
    space = dnal.Space.of(network, torch.rand(2, *TINY.input_shape))
    is_open = torch.ones(space.num_gates, dtype=torch.bool)
    (stem,) = (group for group in space.groups if ("stem.0.weight", 0) in group.places)
    is_open[space.branches[0].variable] = is_open[stem.variables[0]] = False
    return written(shape_of(dnal.Architecture.of(space, is_open), TINY), ["block 1:\n is told"])


def test_it_reads_as_it_says(tmp_path: Path) -> None:
    lines = tiny_text().splitlines()
    assert lines[:4] == [
        "dnal shape 1",
        "model supernet/tiny, 10 classes, images 1x8x8",
        "# block 1: is told",
        "absent edges.0.candidates.0",
    ]
    assert "stem.0: weight = 7x1x3x3 of 8x1x3x3" in lines
    assert "stem.1: weight bias running_mean running_var = 7 of 8" in lines
    assert "classifier: weight = 10x32, bias = 10" in lines
    path = tmp_path / "by_hand.txt"
    path.write_text("\n".join([*lines[:2], "", *(f"  {line}  # mine" for line in lines[3:])]))
    assert dnal.load(path).training
    torch.manual_seed(3)
    first = dnal.load(path)
    torch.manual_seed(3)
    second = dnal.load(path)
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_every_kind_of_change_is_written_and_read(tmp_path: Path) -> None:
    shape = Shape(
        Model("package.module:function", 3, (1, 2, 3)),
        [
            Replacement("a.candidates.0", "absent"),
            Replacement("b", "chain", ("one", "two:, #three")),
            Replacement("c", "chain"),
            Replacement("d e", "zero"),
            Replacement("f", "first"),
            Replacement("g", "first", results=3),
        ],
        ["plain.layer"],
        [
            Change("", Attribute("width", -1), 64, 48),
            Change("a", Attribute("widths", 1), 64, 48, True),
            Change("a", Argument("view", 3, 1, -1), 64, 48),
            Change("a", Argument("__getitem__", 2, 0, 4), -64, -48, True),
        ],
        {"token": ((1, 2), (1, 4)), "a.weight": ((3,), (3,)), "a.50%, of = #": ((3,), (5,))},
    )
    path = tmp_path / "shape.txt"
    path.write_text(written(shape))
    assert read_shape(path) == shape


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("dnal shape 1", "dnal shape 2", "its first line is not 'dnal shape 1'"),
        ("model supernet/tiny", "model supernet/tinny", "did you mean"),
        ("model supernet/tiny", "model os:system", "code that would be run"),
        ("model supernet/tiny, 10", "model supernet/tiny, 12", "'classifier.weight' has 12x32 here and 10x32 there"),
        ("10 classes", "0 classes", "line 2 of .* 1 to 65,536 classes"),
        ("images 1x8x8", "images 1x8x8\nmodel supernet/tiny, 10 classes, images 1x8x8", "there is a model already"),
        ("model supernet/tiny, 10 classes, images 1x8x8\n", "", "names no model; give the network"),
        ("absent edges.0.candidates.0", "", "they lack 'edges.0.candidates.0.0.weight'"),
        ("absent edges.0.candidates.0", "absent edges.0.candidates.9", "no module 'edges.0.candidates.9'|they lack"),
        ("absent edges.0.candidates.0", "gone edges.0.candidates.0", "line 4 of .* it is no line of a list of shapes"),
        ("absent edges.0.candidates.0", "absent edges.0.candidates.0: a", "only a chain has children"),
        (
            "weight = 7x1x3x3 of 8x1x3x3",
            "weight = 9x1x3x3 of 8x1x3x3",
            "9x1x3x3 is nothing that can be left of",
        ),
        ("weight = 7x1x3x3 of 8x1x3x3", "weight = 0x1x3x3 of 8x1x3x3", "nothing that can be left"),
        ("weight = 7x1x3x3 of 8x1x3x3", "weight = 7x1x3x3 of 8x1x3", "nothing that can be left"),
        ("weight = 7x1x3x3 of 8x1x3x3", "weight = 7x1x3x3 of 16x1x3x3", "'stem.0.weight' has 8x1x3x3 here"),
        ("weight = 7x1x3x3 of 8x1x3x3", "weight = 6x1x3x3 of 8x1x3x3", "the sizes do not fit each other"),
        ("weight = 7x1x3x3 of 8x1x3x3", "weight 7x1x3x3", "'weight 7x1x3x3' is no name and no shape"),
        ("stem.0: weight", "stem.0: weight weight", "'stem.0.weight' was there before"),
        ("stem.0: weight", "stem.9: weight", "no tensor 'stem.9.weight'"),
        ("absent", "plain pool\nabsent", "'pool' cannot be made a plain layer"),
        ("absent edges.0.candidates.0", "absent edges.0.candidates.0\nabsent edges.0.candidates.0", "gone already"),
        ("absent edges.0.candidates.0", "absent " + "a." * 600 + "b", "at most 1,024 characters"),
        ("absent", "number stem.0 padding[0] 1 -> 2\nabsent", "a number becomes a smaller one"),
        ("absent", "number stem.0 padding[0] 7 -> 1\nabsent", "'stem.0.padding' is not 7"),
        ("absent", "number stem.0 system/3[1] call 0, 2 -> 1\nabsent", "a number of a call is such as"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(old: str, new: str, reason: str, tmp_path: Path) -> None:
    text = tiny_text()
    assert old in text
    path = tmp_path / "shape.txt"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(dnal.UserError, match=reason) as caught:
        dnal.load(path)
    assert "\n" not in str(caught.value)


def test_no_damage_breaks_anything(tmp_path: Path) -> None:
    text, generator = tiny_text(), torch.Generator().manual_seed(0)
    path = tmp_path / "shape.txt"
    said, ran = [], 0
    for _ in range(100):
        at, length, other = torch.randint(len(text), (3,), generator=generator).tolist()
        path.write_text(text[:at] + text[other : other + length % 4] + text[at + length % 5 :])
        try:
            dnal.load(path)(torch.rand(2, 1, 8, 8))
            ran += 1
        except dnal.UserError as error:
            said.append(str(error))
    assert ran, "no damage stood in a comment"
    assert said
    assert not any("\n" in sentence for sentence in said)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(dnal.UserError, match="no list of shapes"):
        dnal.load(path)


class Attending(nn.Module):
    """(N, L, 16) -> (N, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.block(x).mean(dim=1))
        return logits


def grouped() -> nn.Module:
    convolutions = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, groups=2), nn.Conv2d(16, 32, 3, groups=16)]
    return nn.Sequential(*convolutions, nn.GroupNorm(8, 32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 4, 4))


@pytest.mark.parametrize(("make", "size"), [(Attending, (7, 16)), (grouped, (3, 8, 8))])
def test_a_network_without_a_name_is_given(make: type[nn.Module], size: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, inputs = make(), torch.rand(2, *size)
    space = dnal.Space.of(network, inputs)
    architecture = dnal.Architecture.random(space, 0.5)
    path = tmp_path / "shape.txt"
    path.write_text(written(shape_of(architecture)))
    small, again = dnal.compact(network, architecture), dnal.load(path, network=network)
    assert [tuple(p.shape) for p in again.parameters()] == [tuple(p.shape) for p in small.parameters()]
    again.load_state_dict(small.state_dict())
    assert difference(run(small.eval(), inputs), run(again.eval(), inputs)) == 0
    assert built(read_shape(path), network) is not network


def test_channels_that_no_grouped_layer_can_have_are_refused(tmp_path: Path) -> None:
    network = grouped()
    text = written(shape_of(dnal.Architecture.full(dnal.Space.of(network, torch.rand(2, 3, 8, 8)))))
    path = tmp_path / "shape.txt"
    path.write_text(text.replace("1: weight = 16x4x3x3", "1: weight = 15x4x3x3 of 16x4x3x3"))
    with pytest.raises(
        dnal.UserError, match=r"15 of 16 in '1\.weight' are not the same in each of the layer's 2 groups"
    ):
        dnal.load(path, network=network)


def test_the_shape_in_a_run_folder_is_that_of_its_network(finished: Path) -> None:
    expected = dnal.load(finished).state_dict()
    found = dnal.load(finished / SHAPE).state_dict()
    assert {name: tensor.shape for name, tensor in found.items()} == {n: t.shape for n, t in expected.items()}
