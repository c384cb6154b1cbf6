"""`dnal learn` with several budgets, and what it prints before it trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cli_program import SHORT, Program
from dnal import models
from dnal.run.files import ARCHITECTURE, BASE, CONFIG, DETAILS, LOG, MANIFEST, MODEL, REPORT, RESULT, SHAPE
from dnal.selection.select import least_costs
from dnal.selection.widths import WidthRule
from dnal.space.space import Space

BUDGETS = ("--budget", "macs<=60%", "--budget", "macs<=30%", "--budget", "params<=20%")


def test_every_run_is_the_single_run_byte_for_byte(finished: Path, here: Path, dnal: Program) -> None:
    answer = dnal("learn", *SHORT, *BUDGETS, "--out", "curve")
    assert (answer.status, answer.err) == (0, "")
    folders = {folder.name for folder in (here / "curve").iterdir()} - {REPORT}
    assert folders == {"macs60pct", "macs30pct", "params20pct"}
    assert "see:  curve/report.html\n" in answer.out
    assert (here / "curve" / REPORT).stat().st_size < 6e6
    for name in (CONFIG, ARCHITECTURE, MODEL):
        assert (here / "curve" / "macs30pct" / name).read_bytes() == (finished / name).read_bytes(), name
    for folder in folders:
        run = here / "curve" / folder
        phases = [json.loads(record)["phase"] for record in (run / LOG).read_text().splitlines()]
        assert phases == ["base", "architecture", "retrain"]
        assert {file.name for file in run.iterdir()} == {
            CONFIG, LOG, BASE, ARCHITECTURE, MODEL, MANIFEST, SHAPE, DETAILS, RESULT, REPORT,
        }  # fmt: skip
        assert dnal("eval", run).status == 0


def test_the_table_has_a_row_per_budget(here: Path, dnal: Program) -> None:
    answer = dnal("learn", *SHORT, *BUDGETS)
    assert answer.status == 0, answer.err
    table = answer.out[answer.out.index("accuracy") :].splitlines()
    rows = [row.split()[0] for row in table if row.startswith(("base", "macs", "params"))]
    assert rows == ["base", "macs<=60%", "macs<=30%", "params<=20%"]
    (parent,) = (here / "runs").iterdir()
    assert parent.name == "vgg_small-digits-trade_off-s0"
    assert "dnal eval runs/vgg_small-digits-trade_off-s0/macs60pct" in answer.out


def test_one_of_the_runs_exists_already(here: Path, dnal: Program) -> None:
    assert dnal("learn", *SHORT, "--out", "curve/macs30pct").status == 0
    answer = dnal("learn", *SHORT, *BUDGETS, "--out", "curve")
    assert answer.status == 2
    assert "--overwrite" in answer.err
    assert [folder.name for folder in (here / "curve").iterdir()] == ["macs30pct"]


def test_the_parent_is_no_run(finished: Path, dnal: Program) -> None:
    answer = dnal("learn", *SHORT, *BUDGETS, "--out", finished)
    assert answer.status == 2
    assert "is a run" in answer.err


def test_the_space_and_the_ranges_are_told_first(here: Path, dnal: Program) -> None:
    answer = dnal("learn", *SHORT, "--budget", "macs<=60%,memory<=90%", "--min-width", 4, "--divisor", 2)
    assert answer.status == 0, answer.err
    space = Space.of(models.create("vgg_small"), torch.rand(1, 1, 8, 8))
    told = answer.out[: answer.out.index("accuracy")]
    assert f"{space.num_variables:,} channel variables in {len(space.groups)} groups" in told
    assert "least possible" in told
    least = least_costs(space, WidthRule(4, 2))["macs"] / space.full_cost["macs"]
    (row,) = [row for row in told.splitlines() if row.startswith("MACs")][:1]
    assert f"({100 * least:.1f} %)" in row
    assert "(60.0 %)" in row
    assert any(row.startswith("memory") and "(90.0 %)" in row for row in told.splitlines())


def test_depth_is_on_when_asked_for(here: Path, dnal: Program) -> None:
    (here / "residual_network.py").write_text(
        "from torch import nn\n"
        "class Block(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.n = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)\n"
        "        self.b, self.m = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)\n"
        "    def forward(self, x):\n"
        "        return (x + self.m(self.b(self.n(self.a(x)).relu()))).relu()\n"
        "def net(classes, in_channels):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 8, 3, padding=1), Block(), Block(), nn.AdaptiveAvgPool2d(1),\n"
        "                         nn.Flatten(), nn.Linear(8, classes))\n"
    )
    answer = dnal("learn", "--model", "residual_network:net", *SHORT, "--prune-blocks", "--out", "run")
    assert answer.status == 0, answer.err
    assert "2 branches" in answer.out
    assert dnal("eval", "run", "--trust", "residual_network").status == 0
    assert dnal("learn", "--like", "run", "--trust", "residual_network", "--out", "again").status == 0
    assert Path("run", MODEL).read_bytes() == Path("again", MODEL).read_bytes()


def test_a_backend_that_is_not_installed(here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    answer = dnal("learn", *SHORT, "--backend", "onnxruntime-cpu", "--budget", "latency<=3")
    assert answer.status == 2
    assert "pip install" in answer.err
    assert answer.err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_the_backends_are_those_of_the_profile() -> None:
    from dnal.base.place import found_at
    from dnal.latency.backends.backend import Backend
    from dnal.settings import BACKENDS

    for name, place in BACKENDS.items():
        kind = found_at(place, "backend", name)
        assert issubclass(kind, Backend)
        assert kind.name == name
