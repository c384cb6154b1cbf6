"""Arrays of the user's in an npz file, good and bad."""

import io
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dnal import data
from dnal.base.errors import UserError
from dnal.data import npz
from dnal.data.images.arrays import ArrayPart
from dnal.data.images.augmentation import Augmentation


def arrays(shape: tuple[int, ...] = (16, 16, 3), dtype: str = "uint8") -> dict[str, Any]:
    random = np.random.RandomState(0)
    x = random.randint(0, 256, (50, *shape)).astype(dtype)
    y = np.arange(50) % 5
    return {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}


def saved(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "set.npz"
    np.savez(path, **{key: value for key, value in {**arrays(), **changes}.items() if value is not None})
    return str(path)


def part(found: object) -> ArrayPart:
    assert isinstance(found, ArrayPart)
    return found


@pytest.mark.parametrize(
    ("shape", "dtype", "input_shape", "augmentation"),
    [
        ((16, 16, 3), "uint8", (3, 16, 16), Augmentation(2, True)),
        ((16, 16), "uint8", (1, 16, 16), Augmentation(2, False)),
        ((12, 12, 3), "uint8", (3, 12, 12), Augmentation(1, False)),
        ((3, 16, 20), "float32", (3, 16, 20), Augmentation(2, True)),
        ((16, 20, 1), "float64", (1, 16, 20), Augmentation(2, False)),
        ((28, 28), "float16", (1, 28, 28), Augmentation(3, False)),
    ],
)
def test_layouts_and_their_augmentation(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, input_shape: tuple[int, int, int], augmentation: Augmentation
) -> None:
    loaded = data.load(saved(tmp_path, **arrays(shape, dtype)))
    assert loaded.input_shape == input_shape
    assert loaded.classes == 5
    assert (len(loaded.train), len(loaded.val), len(loaded.test)) == (36, 4, 10)
    assert part(loaded.train).augmentation == augmentation
    assert part(loaded.val).augmentation is None
    x, y = next(iter(data.loaders(loaded, 8).train))
    assert x.shape == (8, *input_shape)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)


def test_values_come_through(tmp_path: Path) -> None:
    content = arrays()
    loaded = data.load(saved(tmp_path))
    (x, y), *_ = data.loaders(loaded, 10).test
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (loaded.mean, loaded.std))
    expected = torch.from_numpy(content["x_test"].transpose(0, 3, 1, 2) / 255).float()
    torch.testing.assert_close(x * std + mean, expected)
    assert y.tolist() == content["y_test"].tolist()


def test_more_classes_than_labels(tmp_path: Path) -> None:
    assert data.load(saved(tmp_path), classes=9).classes == 9


def test_smaller_and_larger_inputs(tmp_path: Path) -> None:
    path = saved(tmp_path)
    small, large = data.load(path, input_shape=(3, 8, 8)), data.load(path, input_shape=(3, 40, 24))
    assert part(small.train).x.shape[-2:] == (8, 8)
    assert part(small.train).augmentation == Augmentation(1, True)
    for loaded, shape in ((small, (3, 8, 8)), (large, (3, 40, 24))):
        assert all(x.shape[1:] == shape for loader in data.loaders(loaded, 8) for x, _ in loader)


def _nan() -> Any:
    x = arrays((16, 16), "float32")["x_train"]
    x[7, 3, 3] = np.nan
    return x


BAD: list[tuple[dict[str, Any], str]] = [
    ({"y_train": None, "x_test": None}, "has no y_train, x_test; it must hold x_train, y_train, x_test, y_test"),
    ({"y_test": np.arange(9)}, "y_test has 9 labels for 10 images"),
    ({"y_train": np.arange(40) - 1}, "y_train has the negative label -1"),
    ({"y_train": np.linspace(0, 4, 40)}, "y_train must be whole numbers from 0, not float64"),
    ({"y_train": np.eye(40, dtype=int)}, r"one number per image, shape \(N,\), not \(40, 40\)"),
    ({"x_train": np.zeros((0, 16, 16, 3), np.uint8), "y_train": np.zeros(0, int)}, "x_train is empty"),
    ({"x_train": np.zeros((40, 16, 16, 3), np.int64)}, "x_train must be uint8 or floating point, not int64"),
    ({"x_train": np.zeros((40, 99), np.uint8)}, "x_train must be images of shape"),
    ({"x_train": np.zeros((40, 9, 16, 16), np.uint8)}, "no channel dimension of at most 4"),
    ({"x_test": np.zeros((10, 8, 8, 3), np.uint8)}, "different images .3x16x16 uint8 and 3x8x8 uint8."),
    ({"x_train": np.array([{}] * 40, dtype=object)}, "x_train in .* holds Python objects"),
    (
        {"x_train": _nan(), "x_test": np.zeros((10, 16, 16), np.float32)},
        "x_train has NaN or infinite values in 1 images, first in image 7",
    ),
    (
        {"x_train": np.zeros((40, 8, 8), np.float32), "x_test": np.full((10, 8, 8), np.inf, np.float32)},
        "x_test has NaN or infinite values in 10 images",
    ),
    ({"x_train": np.zeros((1, 16, 16, 3), np.uint8), "y_train": np.zeros(1, int)}, "x_train holds a single image"),
]


@pytest.mark.parametrize(("changes", "sentence"), BAD, ids=[sentence[:40] for _, sentence in BAD])
def test_bad_arrays(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        data.load(saved(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_fewer_classes_than_labels(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="y_train has the label 4, but 3 classes go from 0 to 2; say at least 5 classes"
    ):
        data.load(saved(tmp_path), classes=3)


@pytest.mark.parametrize("limit", [0, -5, 37])
def test_impossible_limits(tmp_path: Path, limit: int) -> None:
    with pytest.raises(UserError, match=f"from 1 to the 36 training images, not {limit}"):
        data.load(saved(tmp_path), limit_train=limit)


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        data.load(str(tmp_path / "absent.npz"))
    path = tmp_path / "text.npz"
    path.write_text("x_train")
    with pytest.raises(UserError, match="is not an npz file"):
        data.load(str(path))
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(path)
    with pytest.raises(UserError, match="is not an npz file"):
        data.load(str(path))


def test_a_damaged_npz(tmp_path: Path) -> None:
    path = Path(saved(tmp_path))
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        data.load(str(path))


def member(header: str, body: bytes = b"") -> bytes:
    """An array written by hand, with any header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + body


def archive(path: Path, compression: int = zipfile.ZIP_DEFLATED, **changes: bytes) -> Path:
    """The good set as an archive, some members replaced by bytes."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for key, array in arrays().items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            file.writestr(f"{key}.npy", changes.get(key, buffer.getvalue()))
    return path


def flagged(path: Path, offsets: tuple[int, int], value: bytes) -> None:
    """Overwrites a field of every entry, at its own header and in the directory."""
    content = bytearray(path.read_bytes())
    for mark, offset in zip((b"PK\3\4", b"PK\1\2"), offsets, strict=True):
        at = content.find(mark)
        while at >= 0:
            content[at + offset : at + offset + len(value)] = value
            at = content.find(mark, at + 4)
    path.write_bytes(content)


SHAPES = ("(1000000000000, 8, 8)", "(99999999999999999999999, 8, 8)", "(True, 8, 8)", "(-1, 8, 8)", "(64, 8, 9)", "7")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        *((f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}", "damaged") for shape in SHAPES),
        ("{" * 900, "not an array or damaged"),
        ("[" * 5000, "not an array or damaged"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (64,), }", "holds Python objects"),
        (
            "{'descr': [('a', '|u1'), ('b', '|u1')], 'fortran_order': False, 'shape': (32,), }",
            "uint8 or floating point",
        ),
        ("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (8,), }", "uint8 or floating point"),
    ],
)
def test_what_a_member_says_of_itself_is_held_against_its_bytes(tmp_path: Path, header: str, sentence: str) -> None:
    path = archive(tmp_path / "set.npz", x_train=member(header, bytes(64)))
    with pytest.raises(UserError, match=f"x_train.* {sentence}") as caught:
        data.load(str(path))
    assert "\n" not in str(caught.value)


def test_encryption_and_compressions_that_nobody_knows(tmp_path: Path) -> None:
    path = archive(tmp_path / "set.npz")
    flagged(path, (6, 8), b"\1")
    with pytest.raises(UserError, match=r"x_train in .* is encrypted"):
        data.load(str(path))
    path = archive(tmp_path / "set.npz")
    flagged(path, (8, 10), struct.pack("<H", 99))
    with pytest.raises(UserError, match=r"damaged .*compression method"):
        data.load(str(path))


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_of_every_compression_is_a_sentence(tmp_path: Path, kind: int) -> None:
    good = archive(tmp_path / "good.npz", kind)
    assert torch.equal(part(data.load(str(good)).test).x, torch.from_numpy(arrays()["x_test"].transpose(0, 3, 1, 2)))
    content, draw, path = good.read_bytes(), random.Random(kind), tmp_path / "set.npz"
    damaged = 0
    for _ in range(60):
        changed = bytearray(content)
        at = draw.randrange(len(changed) - 40)
        changed[at : at + 40] = draw.choice((bytes(40), draw.randbytes(40), b""))
        path.write_bytes(changed)
        try:
            data.load(str(path))
        except UserError:
            damaged += 1
    assert damaged > 40


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many zeros; an honest small set of zeros passes."""
    monkeypatch.setattr(npz, "LARGE", 2**24)
    count = 2**25 // 64
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, 8, 8), }}"
    path = tmp_path / "set.npz"
    archive(path, x_train=member(header, bytes(2**25)))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"x_train in .* unpacks .* bytes to 33,55"):
        data.load(str(path))
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    black = np.zeros((40, 16, 16, 3), np.uint8)
    np.savez_compressed(path, **{**arrays(), "x_train": black})
    assert not part(data.load(str(path)).train).x.any()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", "<f2", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("labels", ["<i8", ">i8", "uint8", ">u2", "<u8"])
def test_every_order_of_bytes_and_dimensions_comes_through(tmp_path: Path, order: str, dtype: str, labels: str) -> None:
    content = arrays((6, 7, 3))
    changed = {k: np.asarray(v.astype(dtype if k[0] == "x" else labels), order=order) for k, v in content.items()}
    path = tmp_path / "set.npz"
    np.savez(path, **changed)
    loaded = data.load(str(path))
    expected = torch.from_numpy(content["x_test"].transpose(0, 3, 1, 2))
    assert torch.equal(part(loaded.test).x.to(torch.uint8), expected)
    assert loaded.test.y.tolist() == content["y_test"].tolist()


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            np.arange(40) % 10 + 1,
            "the labels are 1 to 10, and labels count from 0; subtract 1, or say that there are 11",
        ),
        (np.where(np.arange(40) == 7, 2 * 10**8, np.arange(40) % 5), "the largest is 200000000, and 5 does not occur"),
        (
            np.where(np.arange(40) == 7, 2**63 + 5, np.arange(40) % 5).astype(np.uint64),
            "the label 9223372036854775813,",
        ),
        (np.where(np.arange(40) == 7, 2**40, np.arange(40) % 5), "the label 1099511627776,"),
        (np.arange(40) % 5 * 2, "the largest is 8, and 1 does not occur"),
    ],
)
def test_labels_that_tell_no_number_of_classes_are_asked_about(tmp_path: Path, labels: Any, sentence: str) -> None:
    path = saved(tmp_path, y_train=labels, y_test=labels[:10])
    with pytest.raises(UserError, match=sentence):
        data.load(path)
    if labels.max() < 100:
        assert data.load(path, classes=11).classes == 11
