"""What the program's commands print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dnal as package
from cli_program import Program
from dnal import models
from dnal.space.space import Space

HEAVY = ("torch", "torchvision", "timm", "lightning", "sklearn", "pydantic", "numpy")


def test_the_command_line_is_imported_without_torch() -> None:
    code = f"import sys, dnal.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_wait_for_nothing_that_only_some_jobs_need() -> None:
    heavy = ("torchvision", "timm", "lightning", "torchmetrics", "sklearn", "plotly", "matplotlib", "transformers")
    code = (
        "import sys, dnal\n"
        "for name in dnal.__all__:\n    getattr(dnal, name)\n"
        f"print('torch' in sys.modules, [m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True []"


def test_help_names_every_command_and_loads_no_torch() -> None:
    code = (
        "import sys; from dnal.cli import main; sys.argv = ['dnal', '--help']\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("learn", "space", "eval", "models", "data"):
        assert command in done.stdout
    assert done.stdout.strip().endswith("False")


def test_version(dnal: Program) -> None:
    answer = dnal("--version")
    assert (answer.status, answer.out.strip()) == (0, f"dnal {package.__version__}")


@pytest.mark.parametrize("command", ["learn", "space", "eval", "models", "data"])
def test_every_command_has_help(dnal: Program, command: str) -> None:
    answer = dnal(command, "--help")
    assert answer.status == 0
    assert command in answer.out


def test_models_lists_all_sources(dnal: Program) -> None:
    lines = dnal("models").out.split()
    assert set(models.names()) < set(lines)


def test_models_filter(dnal: Program) -> None:
    lines = dnal("models", "--filter", "VGG16").out.split()
    assert "cifar/vgg16_bn" in lines
    assert "torchvision/vgg16" in lines
    assert all("vgg16" in name for name in lines)


def test_models_filter_that_finds_nothing(dnal: Program) -> None:
    answer = dnal("models", "--filter", "no such thing")
    assert answer.status == 2
    assert answer.err.count("\n") == 1


def test_data_lists_all_sets(dnal: Program) -> None:
    out = dnal("data").out
    for name in ("digits", "fashion-mnist", "cifar10", "cifar100", ".npz", "train/CLASS"):
        assert name in out


def test_space_shows_every_group_and_what_is_fixed(dnal: Program) -> None:
    network = models.create("cifar/resnet20")
    space = Space.of(network, torch.rand(1, 3, 32, 32))
    answer = dnal("space", "--model", "cifar/resnet20")
    assert (answer.status, answer.err) == (0, "")
    for group in space.groups:
        assert group.name in answer.out
    for _, reason in space.fixed:
        assert reason.partition(": ")[2] in answer.out
    assert f"{space.num_variables:,} channel variables" in answer.out
    assert "\x1b" not in answer.out  # no terminal, no colour


def test_space_as_json_agrees_with_the_space(dnal: Program) -> None:
    answer = dnal("space", "--model", "cifar/resnet20", "--input", "1,16,16", "--classes", "7", "--json")
    found = json.loads(answer.out)
    network = models.create("cifar/resnet20", classes=7, input_shape=(1, 16, 16))
    space = Space.of(network, torch.rand(1, 1, 16, 16))
    assert found["input_shape"] == [1, 16, 16]
    assert found["variables"] == space.num_variables == sum(group["width"] for group in found["groups"])
    assert found["macs"] == package.macs(network, torch.rand(1, 1, 16, 16))
    assert found["params"] == sum(p.numel() for p in network.parameters())
    assert found["removable_share"] == pytest.approx(space.removable_share)
    assert [g["share_of_macs"] for g in found["groups"]] == pytest.approx(
        [space.share_of_macs(group) for group in space.groups]
    )
    assert sum(len(entry["tensors"]) for entry in found["fixed"]) == len(space.fixed)


def test_space_lists_operations_without_a_rule(dnal: Program, here: Path) -> None:
    (here / "odd_network.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Odd(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3)\n"
        "        self.head = nn.Linear(8, 10)\n"
        "    def forward(self, x):\n"
        "        x = torch.cummax(self.a(x), 1).values\n"
        "        return self.head(self.b(x).mean((2, 3)))\n"
        "def net():\n    return Odd()\n"
    )
    answer = dnal("space", "--model", "odd_network:net", "--input", "1,12,12")
    assert answer.status == 0
    assert "operation without a rule" in answer.out
    assert "cummax" in answer.out


def test_a_network_that_fails_on_the_input_is_told_in_a_sentence(dnal: Program) -> None:
    answer = dnal("space", "--model", "torchvision/alexnet", "--input", "3,16,16")
    assert answer.status == 2
    assert answer.err.startswith("dnal: the network 'torchvision/alexnet' cannot take images of 3,16,16")
    assert answer.err.count("\n") == 1


def test_the_space_of_a_users_function_needs_the_input(dnal: Program) -> None:
    answer = dnal("space", "--model", "somewhere:net")
    assert answer.status == 2
    assert "--input" in answer.err


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (86, "86"), (0.21345, "0.213"), (999_999, "1000.0 k"), (313_464_832, "313.5 M"), (1.8e9, "1.800 G")],
)
def test_amounts_are_readable(value: float | None, shown: str) -> None:
    from dnal.cli.display import amount

    assert amount(value) == shown


@pytest.mark.parametrize(
    "name", ["torchvision/resnet18", "torchvision/googlenet", "torchvision/mobilenet_v3_small", "timm/resnet18"]
)
def test_pretrained_weights_for_other_classes_leave_the_head_to_be_trained(name: str) -> None:
    from dnal.cli.network import _head_is_fresh

    shape = (3, 64, 64)
    assert _head_is_fresh(models.create(name, classes=10, input_shape=shape), name, shape)
    assert not _head_is_fresh(models.create(name, classes=1000, input_shape=shape), name, shape)


def test_space_lists_what_is_not_counted(dnal: Program, here: Path) -> None:
    (here / "far_network.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Far(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.codes, self.head = nn.Parameter(torch.randn(40, 64)), nn.Linear(40, 10)\n"
        "    def forward(self, x):\n"
        "        return self.head(torch.cdist(x.flatten(1), self.codes))\n"
        "def net():\n"
        "    return Far()\n"
    )
    answer = dnal("space", "--model", "far_network:net", "--input", "1,8,8")
    assert "its MACs are not counted" in answer.out
    assert answer.err.count("are not counted") == 1
    found = json.loads(dnal("space", "--model", "far_network:net", "--input", "1,8,8", "--json").out)
    assert found["uncounted"] == [{"operation": "aten._euclidean_dist.default", "modules": [""]}]
    assert found["macs"] == 40 * 10


def test_space_shows_branches_and_the_least_of_every_cost(dnal: Program) -> None:
    from dnal.costs.memory import memory_cost, peak_memory
    from dnal.selection.select import least_costs
    from dnal.selection.widths import WidthRule

    options = ("--prune-blocks", "--min-width", "0.25", "--divisor", 4, "--deploy-batch-size", 3)
    found = json.loads(dnal("space", "--model", "cifar/resnet20", *options, "--json").out)
    network, example = models.create("cifar/resnet20"), torch.rand(1, 3, 32, 32)
    space = Space.of(network, example, depth=True)
    space = space.with_cost("memory", memory_cost(network, space, example, 3))
    assert found["branches"] == [branch.name for branch in space.branches]
    assert found["costs"]["memory"]["base"] == peak_memory(network, torch.rand(3, 3, 32, 32))
    least = least_costs(space, WidthRule(0.25, 4))
    assert {name: ends["least"] for name, ends in found["costs"].items()} == pytest.approx(least)
    shown = dnal("space", "--model", "cifar/resnet20", *options).out
    assert f"and {space.num_branches} branches" in shown
    assert all(branch.name in shown for branch in space.branches)
    assert "least possible" in shown
    assert "branch" not in dnal("space", "--model", "cifar/resnet20").out
