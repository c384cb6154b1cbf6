"""Architectures: random draws, the file, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dnal
from dnal.architecture.architecture import fingerprint


def network(width: int = 10, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 7, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(7, 4),
    ).eval()


IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def space() -> dnal.Space:
    return dnal.Space.of(network(), IMAGES)


@pytest.fixture
def architecture(space: dnal.Space) -> dnal.Architecture:
    return dnal.Architecture.random(space, 0.5, seed=3)


@pytest.mark.parametrize("keep", [0, 0.01, 0.24, 0.5, 0.77, 1])
def test_random_keeps_a_rounded_share_of_every_group(space: dnal.Space, keep: float) -> None:
    drawn = dnal.Architecture.random(space, keep, seed=5)
    for group in space.groups:
        assert int(drawn.open[group.variables].sum()) == max(1, round(keep * group.width))


def test_random_depends_on_the_seed_alone(space: dnal.Space) -> None:
    state = torch.get_rng_state()
    first = dnal.Architecture.random(space, 0.5, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(7)
    assert dnal.Architecture.random(space, 0.5, seed=1) == first
    assert hash(dnal.Architecture.random(space, 0.5, seed=1)) == hash(first)
    assert any(dnal.Architecture.random(space, 0.5, seed=s) != first for s in range(2, 6))


@pytest.mark.parametrize("keep", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_share_lies_between_zero_and_one(space: dnal.Space, keep: float) -> None:
    with pytest.raises(dnal.UserError, match="between 0 and 1"):
        dnal.Architecture.random(space, keep)


def test_full_keeps_everything(space: dnal.Space) -> None:
    full = dnal.Architecture.full(space)
    assert full.open.shape == (space.num_variables,)
    assert full.open.all()
    assert all(indices is None for dims in full.kept.values() for indices in dims)
    assert full != dnal.Architecture.random(space, 0.5)
    assert full != "full"


def test_an_empty_group_is_refused(space: dnal.Space) -> None:
    for group in space.groups:
        is_open = torch.ones(space.num_variables, dtype=torch.bool)
        is_open[group.variables] = False
        with pytest.raises(dnal.UserError, match=re.escape(f"'{group.name}' has no channel left")):
            dnal.Architecture.of(space, is_open)


@pytest.mark.parametrize("count", [0, 3, 1000])
def test_another_number_of_values_is_refused(space: dnal.Space, count: int) -> None:
    with pytest.raises(dnal.UserError, match=f"needs {space.num_variables} on/off values"):
        dnal.Architecture.of(space, torch.ones(count, dtype=torch.bool))


def test_the_callers_tensor_is_not_kept(space: dnal.Space) -> None:
    values = torch.ones(space.num_variables, dtype=torch.bool)
    made = dnal.Architecture.of(space, values)
    values[0] = False
    assert made.open.all()


def test_kept_indices_are_the_open_ones(space: dnal.Space, architecture: dnal.Architecture) -> None:
    for name, dims in {**space.sources, **space.buffer_sources}.items():
        for ids, kept in zip(dims, architecture.kept[name], strict=True):
            if ids is not None:
                expected = [i for i, v in enumerate(ids.tolist()) if v < 0 or architecture.open[v]]
                assert kept.tolist() == expected


# The file


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
def test_a_saved_architecture_comes_back(space: dnal.Space, keep: float, tmp_path: Path) -> None:
    saved = dnal.Architecture.random(space, keep, seed=2)
    saved.save(tmp_path / "architecture.json")
    loaded = dnal.Architecture.load(tmp_path / "architecture.json")
    assert torch.equal(loaded.open, saved.open)
    assert loaded.readers == saved.readers
    assert loaded.shapes == saved.shapes
    assert loaded.kept.keys() == saved.kept.keys()
    for name, dims in saved.kept.items():
        for one, other in zip(dims, loaded.kept[name], strict=True):
            assert (one is None and other is None) or torch.equal(one, other)
    assert loaded == saved


def test_the_file_is_the_same_every_time_and_names_no_place(architecture: dnal.Architecture, tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    architecture.save(one)
    dnal.Architecture.load(one).save(other)
    assert one.read_bytes() == other.read_bytes()
    assert str(tmp_path) not in one.read_text()


def test_a_fresh_network_needs_no_trace(
    architecture: dnal.Architecture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture.save(tmp_path / "a.json")
    fresh = network(seed=9)
    expected = dnal.compact(fresh, architecture)(IMAGES)

    def refuse(*_: object) -> None:
        raise AssertionError("the network ran")

    loaded = dnal.Architecture.load(tmp_path / "a.json")
    with monkeypatch.context() as patch:
        patch.setattr(nn.Sequential, "forward", refuse)
        small, gated = dnal.compact(fresh, loaded, check=False), dnal.gated(fresh, loaded)
    assert torch.equal(small(IMAGES), expected)
    torch.testing.assert_close(gated(IMAGES), expected)


@pytest.mark.parametrize("use", [dnal.compact, dnal.gated])
@pytest.mark.parametrize(
    ("change", "first"),
    [
        (lambda: network(width=12), "0.weight"),
        (lambda: network()[:4], "7.weight"),
        (lambda: nn.Sequential(*network(), nn.Linear(4, 4)), "8.weight"),
        (lambda: nn.Sequential(*network()[:7], nn.Linear(7, 5)), "7.weight"),
    ],
)
def test_another_network_is_refused_by_its_first_difference(
    architecture: dnal.Architecture, use: Callable[..., Any], change: Callable[[], nn.Module], first: str
) -> None:
    with pytest.raises(dnal.UserError, match=f"another network.*'{first}'"):
        use(change(), architecture)


def edited(document: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return document


def resized(document: dict[str, Any], size: int, kept: list[int]) -> dict[str, Any]:
    """Another size with a fingerprint that fits it."""
    document["tensors"]["0.weight"].update(shape=[size, 3, 3, 3], kept=[kept, None, None, None])
    shapes = {name: tuple(entry["shape"]) for name, entry in document["tensors"].items()}
    return edited(document, "fingerprint", to=fingerprint(shapes))


KEPT = ("tensors", "0.weight", "kept", 0)
HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a list": lambda d: [d],
    "a number": lambda d: 3,
    "nothing": lambda d: None,
    "an empty object": lambda d: {},
    "another format": lambda d: edited(d, "format", to=99),
    "a format of text": lambda d: edited(d, "format", to="1"),
    "another fingerprint": lambda d: edited(d, "fingerprint", to="0" * 64),
    "a fingerprint of nothing": lambda d: edited(d, "fingerprint", to=None),
    "another shape": lambda d: edited(d, "tensors", "0.weight", "shape", 0, to=11),
    "tensors as a list": lambda d: edited(d, "tensors", to=list(d["tensors"])),
    "a tensor as text": lambda d: edited(d, "tensors", "0.weight", to="x"),
    "a shape as text": lambda d: edited(d, "tensors", "0.bias", "shape", to="10"),
    "a shape of text": lambda d: edited(d, "tensors", "0.bias", "shape", to=["10"]),
    "a shape with a fraction": lambda d: edited(d, "tensors", "0.bias", "shape", to=[10.5]),
    "a shape of true": lambda d: edited(d, "tensors", "0.bias", "shape", to=[True]),
    "a negative shape": lambda d: edited(d, "tensors", "0.bias", "shape", to=[-10]),
    "no shape": lambda d: edited(d, "tensors", "0.bias", to={}),
    "kept as a number": lambda d: edited(d, "tensors", "0.weight", "kept", to=3),
    "kept for too few dimensions": lambda d: edited(d, "tensors", "0.weight", "kept", to=[[1]]),
    "kept as an object": lambda d: edited(d, *KEPT, to={"0": 1}),
    "negative indices": lambda d: edited(d, *KEPT, to=[-1, 2]),
    "huge indices": lambda d: edited(d, *KEPT, to=[0, 10**30]),
    "unsorted indices": lambda d: edited(d, *KEPT, to=[2, 1]),
    "repeated indices": lambda d: edited(d, *KEPT, to=[1, 1]),
    "bool indices": lambda d: edited(d, *KEPT, to=[False, True]),
    "fractional indices": lambda d: edited(d, *KEPT, to=[0.0, 1.0]),
    "indices of text": lambda d: edited(d, *KEPT, to=["0", "1"]),
    "mixed indices": lambda d: edited(d, *KEPT, to=[0, "1", None]),
    "nested indices": lambda d: edited(d, *KEPT, to=[[0], [1]]),
    "no index left": lambda d: edited(d, *KEPT, to=[]),
    "a size beyond 64 bits": lambda d: resized(d, 10**30, [10**29]),
    "variables as a list": lambda d: edited(d, "open", to=[1, 0]),
    "variables as a list of lists": lambda d: edited(d, "open", to=[[1], [0]]),
    "variables of other letters": lambda d: edited(d, "open", to="10x"),
    "variables that contradict the indices": lambda d: edited(d, "open", to="1" * 17),
    "no variables": lambda d: {k: v for k, v in d.items() if k != "open"},
    "no readers": lambda d: {k: v for k, v in d.items() if k != "readers"},
    "readers as a number": lambda d: edited(d, "readers", to=3),
    "a reader nobody knows": lambda d: edited(d, "readers", 0, to=["nobody.weight", 1]),
    "a reader without dimension": lambda d: edited(d, "readers", 0, to=["3.weight"]),
    "a reader of a fifth dimension": lambda d: edited(d, "readers", 0, 1, to=4),
    "a reader of a negative dimension": lambda d: edited(d, "readers", 0, 1, to=-1),
    "a reader of dimension true": lambda d: edited(d, "readers", 0, 1, to=True),
    "a reader of an unhashable name": lambda d: edited(d, "readers", 0, 0, to=["3.weight"]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence(architecture: dnal.Architecture, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    architecture.save(path)
    path.write_text(json.dumps(HOSTILE[name](json.loads(path.read_text()))))
    with pytest.raises(dnal.UserError, match="is not an architecture") as error:
        dnal.Architecture.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"[" * 200_000, b'{"format": ' + b"9" * 10_000 + b"}", b"NaN", b"PK\x03\x04"],
    ids=["empty", "cut", "no text", "deep", "a long number", "nan", "zip"],
)
def test_what_is_no_json_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(dnal.UserError, match="is not an architecture"):
        dnal.Architecture.load(tmp_path / "a.json")


def test_every_truncation_is_refused(architecture: dnal.Architecture, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    architecture.save(path)
    text = path.read_text().rstrip()
    for length in range(0, len(text), 13):
        path.write_text(text[:length])
        with pytest.raises(dnal.UserError):
            dnal.Architecture.load(path)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("a.json")
    with pytest.raises(dnal.UserError, match=r"is not an architecture|cannot read"):
        dnal.Architecture.load(tmp_path / "a.json")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(dnal.UserError, match="cannot read"):
            dnal.Architecture.load(path)


def test_a_place_that_cannot_be_written_is_a_sentence(space: dnal.Space, tmp_path: Path) -> None:
    architecture = dnal.Architecture.full(space)
    for path in (tmp_path / "missing" / "architecture.json", tmp_path):
        with pytest.raises(dnal.UserError, match="cannot be written"):
            architecture.save(path)
    assert not list(tmp_path.iterdir())
