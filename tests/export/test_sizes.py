"""Height, width and length are free in a file where the network computes at other sizes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from dnal.export import TOLERANCE, export, format_of
from independent import coin_flips, difference, randomise, run


class Segmenter(nn.Module):
    """A U-Net of two levels: a skip connection needs sides that are multiples of 2; the result is resized."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 16, 3, 2, 1)
        self.up, self.last = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(20, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skipped = self.first(x).relu()
        y = torch.cat((self.up(self.down(skipped).relu()), skipped), 1)
        return F.interpolate(self.last(y), scale_factor=0.5, mode="bilinear")


class Words(nn.Module):
    """Tokens and what hides some of them, of one length; as many positions as the table has."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50, 8), nn.Parameter(torch.randn(64, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.words(tokens) + self.places[: tokens.size(1)]
        return self.layer(x, src_key_padding_mask=mask == 0)


def compact(network: nn.Module, inputs: object) -> nn.Module:
    network = randomise(network).eval()
    return dnal.compact(network, coin_flips(dnal.Space.of(network, inputs), 1)).eval()


def words(batch: int, length: int) -> dict[str, Tensor]:
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[:, -1] = 0
    return {"tokens": torch.randint(0, 50, (batch, length)), "mask": mask}


@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_images_of_any_size(to: str, tmp_path: Path) -> None:
    small = compact(Segmenter(), torch.randn(1, 3, 32, 32))
    exported = export(small, torch.randn(1, 3, 32, 32), tmp_path / f"s.{to}", to)
    assert set(exported.sizes) == {"height", "width"}
    assert all(value <= TOLERANCE for value in exported.sizes.values())
    file = format_of(to).runner(exported.path.read_bytes())
    for shape in ((1, 3, 48, 20), (5, 3, 16, 64), (2, 3, 4, 6)):
        images = torch.randn(shape)
        assert difference(run(small, images), file(images)) <= TOLERANCE


@pytest.mark.parametrize("to", ["onnx", "pt2"])
def test_texts_of_any_length(to: str, tmp_path: Path) -> None:
    small = compact(Words(), words(2, 7))
    exported = export(small, words(2, 7), tmp_path / f"w.{to}", to)
    assert set(exported.sizes) == {"length"}
    file = format_of(to).runner(exported.path.read_bytes())
    for batch, length in ((1, 40), (3, 5)):
        inputs = words(batch, length)
        assert difference(run(small, inputs), file(inputs)) <= TOLERANCE


def test_the_file_says_which_sizes_are_free(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    free = {
        "s": (Segmenter().eval(), torch.randn(1, 3, 32, 32), ["batch", 3, "height", "width"]),
        "a": (nn.Conv1d(2, 4, 5).eval(), torch.randn(1, 2, 20), ["batch", 2, "length"]),
        "f": (nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval(), torch.randn(1, 3, 2, 2), ["batch", 3, 2, 2]),
    }
    for name, (network, example, shape) in free.items():
        exported = export(network, example, tmp_path / f"{name}.onnx", "onnx")
        model = onnx.load(exported.path)
        told = {prop.key: prop.value for prop in model.metadata_props}["free_sizes"]
        assert told.split(", ") == [size for size in shape if isinstance(size, str)]
        dims = model.graph.input[0].type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in dims] == shape
        assert list(exported.sizes) == told.split(", ")[1:]


def test_a_network_that_computes_something_else_at_other_sizes_stays_as_it_is(tmp_path: Path) -> None:
    class Grid(nn.Module):
        """Its positions are those of the size at which it runs: PyTorch's export keeps them."""

        def forward(self, x: Tensor) -> Tensor:
            if x.size(-1) > 40:
                return x * 2
            return x + torch.linspace(0, 1, x.size(-1)).roll(int(x.size(-1)) // 2)

    network = nn.Sequential(nn.Conv2d(3, 4, 1), Grid()).eval()
    images = torch.randn(1, 3, 16, 16)
    exported = export(network, images, tmp_path / "g.onnx", "onnx")
    assert exported.sizes == {}
    file = format_of("onnx").runner(exported.path.read_bytes())
    assert difference(run(network, images), file(images)) <= TOLERANCE
