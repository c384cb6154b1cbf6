"""Names of data sets, right and wrong, and torchvision's sets from a folder that has them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dnal import data
from dnal.base.errors import UserError
from dnal.data.images.arrays import ArrayPart
from dnal.data.images.augmentation import Augmentation


def test_names() -> None:
    names = {each.name: each for each in data.names()}
    assert {"digits", "fashion-mnist", "cifar10", "cifar100", "wine", "negation", "blocks"} <= names.keys()
    assert all(each.what for each in names.values())
    assert {each.kind for each in names.values()} == {*data.KINDS, ""}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cifar11", "unknown data 'cifar11'; did you mean 'cifar10'? `dnal data` lists all."),
        ("digit", "unknown data 'digit'; did you mean 'digits'? `dnal data` lists all."),
        (
            "nowhere/at/all",
            "unknown data 'nowhere/at/all', and no file or folder of that name. `dnal data` lists all.",
        ),
    ],
)
def test_unknown_names(name: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        data.load(name)
    assert str(caught.value) == sentence


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .* for the data; create it"):
        data.load("cifar10", root=tmp_path / "absent")


@pytest.mark.parametrize("shape", [(1, 8), (0, 8, 8)])
def test_impossible_inputs(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="channels, height and width"):
        data.load("digits", input_shape=shape)  # type: ignore[arg-type]


def test_impossible_classes() -> None:
    with pytest.raises(UserError, match="at least one class"):
        data.load("digits", classes=0)
    with pytest.raises(UserError, match="has the label 9, but 5 classes"):
        data.load("digits", classes=5)


def idx(path: Path, array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """The format of MNIST's files: two zeros, type 8 (bytes), dimensions, sizes, values."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


def test_fashion_mnist_from_a_root_that_has_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.RandomState(0)
    for prefix, count in (("train", 100), ("t10k", 20)):
        idx(raw / f"{prefix}-images-idx3-ubyte", random.randint(0, 256, (count, 28, 28)).astype(np.uint8))
        idx(raw / f"{prefix}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    loaded = data.load("fashion-mnist", root=tmp_path)
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (90, 10, 20)
    assert loaded.input_shape == (1, 28, 28)
    assert loaded.class_names[9] == "Ankle boot"
    assert isinstance(loaded.train, ArrayPart)
    assert loaded.train.augmentation == Augmentation(2, True)
    halved = data.load("fashion-mnist", root=tmp_path, input_shape=(1, 14, 14))
    assert isinstance(halved.train, ArrayPart)
    assert halved.train.augmentation == Augmentation(1, True)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "damage", [b"", b"something else", bytes(16), b"\0\0\x08\x03" + b"\x7f\xff\xff\xff" * 3 + bytes(8)]
)
def test_fashion_mnist_that_is_damaged(tmp_path: Path, damage: bytes) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(damage)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(damage)
    with pytest.raises(
        UserError, match=r"FashionMNIST in .* is damaged .*; remove it, and it is downloaded again"
    ) as caught:
        data.load("fashion-mnist", root=tmp_path)
    assert "\n" not in str(caught.value)


def test_cifar_in_a_root_that_has_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files are there and wrong, and nothing can be fetched: what torchvision says becomes one sentence.
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"something else")
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "nothing.tar.gz").as_uri())
    with pytest.raises(UserError, match=r"CIFAR10 is not in .* and could not be downloaded") as caught:
        data.load("cifar10", root=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [2**32, 2**63 - 1, -1])
def test_a_subset_of_any_seed(seed: int) -> None:
    one, again, small = (data.load("digits", limit_train=200, seed=s).train for s in (seed, seed, seed % 2**32))
    assert one.y.bincount().tolist() == small.y.bincount().tolist()
    first = torch.arange(200)
    pictures = [part.batch(first, 0)[0] for part in (one, again, small)]
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


def test_subsets_of_small_seeds_are_as_they_were() -> None:
    """RandomState of the seed itself, as numpy promises it for ever."""
    from dnal.data.splits import stratified_sample

    y = torch.zeros(100, dtype=torch.int64)
    expected = np.sort(np.random.RandomState(2**32 - 1).permutation(100)[:10])
    assert stratified_sample(y, 10, 2**32 - 1).tolist() == expected.tolist()


@pytest.mark.parametrize("found", data.KINDS)
@pytest.mark.parametrize("wanted", data.KINDS)
def test_another_kind_of_data_is_a_sentence_for_every_two_kinds(found: str, wanted: str, tmp_path: Path) -> None:
    if found == wanted:
        return
    name = next(iter(data.KINDS[found].sets))
    with pytest.raises(UserError) as refused:
        data.load(name, root=tmp_path, kind=wanted, download=False)
    assert str(refused.value) == (
        f"the data '{name}' are of the kind '{found}', where '{wanted}' is needed; choose other data, or a model for "
        f"these (`dnal models --kind {found}`)."
    )


@pytest.mark.parametrize("kind", data.KINDS.values(), ids=data.KINDS)
def test_sizes_are_said_to_be_of_examples_whatever_the_kind_is_called(kind: data.Kind) -> None:
    with pytest.raises(UserError, match=rf" of {kind.several}, such as {','.join(map(str, kind.usual))}, not 0\."):
        kind.check((0,))
