"""Arrays of the user's in an npz file, good and bad."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dnal import data
from dnal.base.errors import UserError
from dnal.data.arrays import ArrayPart
from dnal.data.augmentation import Augmentation


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
