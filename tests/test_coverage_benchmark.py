"""The benchmark of coverage tells right from wrong, survives what breaks, and goes on where it stopped."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import dnal
from benchmark_script import script

FOLDER = Path(__file__).parents[1] / "benchmarks"


coverage, exact, weights = script("coverage"), script("coverage_exact"), script("coverage_weights")


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 5, 3)]
    return exact.randomise(nn.Sequential(*layers)).eval()


def test_a_right_removal_is_exact_at_two_sizes() -> None:
    original = network()
    verdict = exact.checked(original, dnal.Space.of(original, torch.randn(1, 3, 16, 16)), 16)
    assert verdict.exact
    assert verdict.second_size == 48
    assert verdict.difference < 1e-4 < verdict.control
    assert verdict.macs < coverage.ROUNDING


def test_macs_that_are_not_those_told_are_seen() -> None:
    original = network()
    space = dnal.Space.of(original, torch.randn(1, 3, 16, 16))
    told = space.costs["macs"]
    wrong = space.with_cost("macs", lambda gates: 1.06 * told(gates))
    assert exact.checked(original, wrong, 16).macs == pytest.approx(0.06)


def test_another_removal_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    original = network()
    space = dnal.Space.of(original, torch.randn(1, 3, 16, 16))
    remove = dnal.compact

    def wrong(whole: nn.Module, chosen: dnal.Architecture) -> nn.Module:
        small = remove(whole, chosen)
        with torch.no_grad():  # as if the channels of one tensor had been taken from elsewhere
            small.get_parameter("1.bias").copy_(small.get_parameter("1.bias").flip(0))
        return small

    monkeypatch.setattr(dnal, "compact", wrong)
    verdict = exact.checked(original, space, 16)
    assert not verdict.exact
    assert "differ" in verdict.reason


def test_outputs_that_no_channel_moves_prove_nothing() -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network()

        def forward(self, x: Tensor) -> Tensor:
            return 1e-20 * self.body(x) + 1

    original = Deaf().eval()
    verdict = exact.checked(original, dnal.Space.of(original, torch.randn(1, 3, 16, 16)), 16)
    assert not verdict.exact
    assert "control" in verdict.reason


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        mean, spread = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, (self.weight - mean) / spread, self.bias)


def test_weights_that_a_convolution_computes_are_found_and_replaced() -> None:
    original = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Standardised(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))
    images = torch.randn(2, 3, 12, 12)
    found = weights.computed_weights(original, lambda network: network(images))
    assert list(found) == ["2.weight"]
    expected = original(images)
    assert torch.allclose(weights.WithWeights(original, found)(images), expected)
    # a channel whose reading slices are zero after the standardisation is one that is silent before it
    found["2.weight"][:, 3] = 0
    silent = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Standardised(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))
    silent.load_state_dict(original.state_dict())
    with torch.no_grad():
        silent[0].weight[3], silent[0].bias[3] = 0, 0
    assert torch.allclose(weights.WithWeights(original, found)(images), silent(images), atol=1e-6)


@pytest.mark.parametrize(("reference", "result"), [(1.0, float("nan")), (float("nan"), float("nan"))])
def test_what_is_no_number_is_not_close(reference: float, result: float) -> None:
    assert exact.difference([torch.tensor([reference])], [torch.tensor([result])]) == float("inf")


@pytest.mark.parametrize("name", ["coverage_zoo.txt", "coverage_more.txt"])
def test_the_lists_name_networks_that_exist_once_each(name: str) -> None:
    pytest.importorskip("timm", minversion="1.0.20")  # the lists name networks that older versions do not have
    known = set(dnal.models.names())
    networks = coverage.listed(FOLDER / name)
    assert {network.name for network in networks} <= known
    assert len({network.name for network in networks}) == len(networks)
    assert len(networks) >= 40
    assert all(network.pixels >= 96 for network in networks)


def test_the_two_lists_share_no_network() -> None:
    zoo, more = ({n.name for n in coverage.listed(FOLDER / f"coverage_{which}.txt")} for which in ("zoo", "more"))
    assert not zoo & more


def test_a_list_has_names_sizes_and_comments(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# some\n\ntimm/resnet18 96  # ResNet\ncifar/resnet20\n")
    assert coverage.listed(tmp_path / "list.txt") == [("timm/resnet18", 96), ("cifar/resnet20", 32)]


@pytest.mark.slow
def test_one_network_is_measured_written_reported_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text("cifar/resnet20 32\n")
    arguments = ["coverage.py", str(tmp_path / "list.txt"), "--out", str(tmp_path / "out.csv"), "--only", "dnal"]
    monkeypatch.setattr("sys.argv", arguments)
    coverage.main()
    (row,) = coverage.read(tmp_path / "out.csv").values()
    assert row["dnal status"] == "exact"
    assert float(row["dnal removable_share"]) > 0.9
    assert int(row["params"]) == sum(p.numel() for p in dnal.models.create("cifar/resnet20").parameters())
    assert not row["torch-pruning status"]

    def again(*_: object) -> None:
        raise AssertionError("it was measured already")

    capsys.readouterr()
    monkeypatch.setattr(coverage, "measured", again)
    coverage.main()
    assert "dnal: 1 exact of 1" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "memory", "status"),
    [("cifar/no_such", 8.0, "crash"), ("timm/vit_base_patch16_224", 1.0, "oom")],
)
def test_what_breaks_becomes_a_row(name: str, memory: float, status: str) -> None:
    row = coverage.measured("dnal", coverage.Network(name, 224), memory, 60)
    assert row["dnal status"] == status
    assert row["dnal reason"]


@pytest.mark.slow
def test_what_lasts_too_long_becomes_a_row() -> None:
    row = coverage.measured("dnal", coverage.Network("torchvision/densenet121", 224), 8, 1)
    assert row["dnal status"] == "timeout"
    assert "1 s" in row["dnal reason"]


def test_open_norms_are_held_against_norms_that_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 12, 3), nn.GroupNorm(1, 12), nn.GELU(), nn.Conv2d(12, 9, 3), nn.GroupNorm(1, 9)]
    original = exact.randomise(nn.Sequential(*layers, nn.Conv2d(9, 5, 3))).eval()
    space = dnal.Space.of(original, torch.randn(1, 3, 16, 16), norms="open")
    assert space.num_variables == 12 + 9
    verdict = exact.checked(original, space, 16)
    assert verdict.exact
    assert verdict.difference < 1e-4 < verdict.control
    monkeypatch.setattr(exact, "tell", lambda *_: None)
    assert not exact.checked(original, space, 16).exact


def test_open_norms_are_reported_beside_fixed_ones() -> None:
    before = {"a": {"dnal status": "exact", "dnal variables": "3", "dnal removable_share": "0.5"}}
    opened = {"network": "a", "dnal status": "exact", "dnal variables": "5", "dnal removable_share": "1.0"}
    lines = coverage.beside(before, [{**opened, "dnal difference": "1e-07", "dnal reason": ""}])
    assert "3 -> 5" in lines[-1]
    assert "0.5 -> 1.0" in lines[-1]
    wrong = {**opened, "dnal status": "not exact", "dnal difference": "", "dnal reason": "it differs"}
    assert "lost: it differs" in coverage.beside(before, [wrong])[-1]
