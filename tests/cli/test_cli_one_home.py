"""Options have one home: a field that is added to a method is there wherever options are told, taken and kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, make_dataclass
from pathlib import Path

import pytest
import yaml

from cli_program import Program
from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.changes import Removal
from dnal.cli.arguments import job_of
from dnal.cli.sweep import _trials
from dnal.methods import METHODS
from dnal.methods.task import Task
from dnal.methods.uniform import Uniform
from dnal.sweep.configuration import sweep_of

JOB = ["--epochs", "1,0,1", "--limit-train", "100", "--quiet"]
CALLS: list[object] = []


@dataclass(frozen=True)
class Dummy(Uniform):
    """Fails when it is asked first."""

    def choose(self, task: Task) -> Removal:
        CALLS.append(getattr(self, "x", None))
        if len(CALLS) == 1:
            raise UserError("not this time.")
        return super().choose(task)


WithX = make_dataclass(
    "WithX", [("x", int, option(1, "How much of it.", least=1, most=9))], bases=(Dummy,), frozen=True,
    namespace={"__module__": __name__, "__doc__": Dummy.__doc__},
)  # fmt: skip
"""The same with one more field, and nothing else."""


@pytest.fixture(autouse=True)
def dummy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._ours, "dummy", f"{__name__}:WithX")
    monkeypatch.setitem(METHODS._ours, "before", f"{__name__}:Dummy")
    CALLS.clear()


def test_one_field_is_enough(here: Path, dnal: Program) -> None:
    assert "has no option 'x'" in dnal("learn", "--method", "before:x=3", *JOB).err
    assert "x is 1 or more and at most 9, not 10" in dnal("learn", "--method", "dummy:x=10", *JOB).err
    assert not list(here.iterdir())
    # the command line, and config.yaml of the run that it begins
    begun = dnal("learn", "--method", "dummy:x=3", *JOB, "--out", "run")
    assert begun.status == 2
    assert "not this time" in begun.err
    assert yaml.safe_load((here / "run" / "config.yaml").read_text())["method"] == {"name": "dummy", "x": 3}
    # resume, and the command in its report
    resumed = dnal("resume", "run", "--quiet")
    assert (resumed.status, resumed.err) == (0, "")
    assert "--method dummy:x=3" in (here / "run" / "report.html").read_text()
    # --like, as it is and with another value
    for name, more, expected in (("same", [], 3), ("other", ["--method", "dummy:x=4"], 4)):
        repeated = dnal("learn", "--like", "run", *more, "--quiet", "--no-report", "--out", name)
        assert repeated.status == 0, repeated.err
        assert yaml.safe_load((here / name / "config.yaml").read_text())["method"] == {"name": "dummy", "x": expected}
    assert CALLS == [3, 3, 3, 4], "and the method itself had it each time"


def test_it_is_on_the_card(dnal: Program) -> None:
    card = json.loads(dnal("methods", "dummy", "--json").out)
    told = {"name": "x", "takes": "a whole number, 1 or more and at most 9", "default": "1", "help": "How much of it."}
    assert card["options"] == [told]
    assert json.loads(dnal("methods", "before", "--json").out)["options"] == []


def test_a_sweep_varies_it(here: Path) -> None:
    grid = {"job": {"model": "vgg_small", "data": "digits"}, "grid": {"method": ["dummy:x=5", "dummy:x=6"]}}
    trials = _trials(sweep_of(yaml.safe_dump(grid), "sweep.yaml"), here)
    assert [job_of(trial.learn).asked().method.x for trial in trials] == [5, 6]  # type: ignore[attr-defined]
    wrong = {**grid, "grid": {"method": ["dummy:x=5", "dummy:x=0"]}}
    with pytest.raises(UserError, match=r"trial-1 \(method=dummy:x=0\): x is 1 or more"):
        _trials(sweep_of(yaml.safe_dump(wrong), "sweep.yaml"), here)
