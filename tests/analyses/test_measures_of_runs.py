"""Generalisation measures in `dnal analyse`: of each network, and how they rank those of several runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import dnal as library
from cli_program import Program
from dnal import data
from dnal.analyses import generalisation
from dnal.analyses.measures.bank import BANK, Measured
from dnal.analyses.measures.figures import ranking_figure
from dnal.analyses.measures.of_runs import point_of, ranking_of
from dnal.base.errors import UserError
from dnal.run import load_base, load_initial
from dnal.run.config import read_config
from dnal.run.files import ANALYSIS, ANALYSIS_PAGE, CONFIG

OF_THE_START = ("l2_dist", "fro_dist", "dist_spec_init", "pacbayes_init")


def test_an_analysis_has_the_measures_of_base_and_compact_network(
    dnal: Program, finished: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    answer = dnal("analyse", run, "--corruptions", "none", "--measures", 60, "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    base, compact = found["networks"]
    assert base["measures"]["values"]["params"] > compact["measures"]["values"]["params"] > 0
    part = data.load("digits", limit_train=300, augment=False).train
    inputs, targets = part.batch(torch.arange(60) * len(part) // 60, 0)
    batches = list(zip(inputs.split(64), targets.split(64), strict=True))
    ours = generalisation(library.load(run), None, batches)
    assert compact["measures"]["margin"] == pytest.approx(ours.margin, rel=1e-4)
    assert compact["measures"]["training_accuracy"] == pytest.approx(ours.accuracy)
    assert not [name for name in compact["measures"]["values"] if name in OF_THE_START]
    start = generalisation(load_base(run), load_initial(run), batches).values
    assert {name: base["measures"]["values"][name] for name in OF_THE_START} == pytest.approx(
        {name: start[name] for name in OF_THE_START}, rel=1e-3
    )
    assert compact["gap"] == pytest.approx(ours.accuracy - compact["accuracy"])
    assert compact["measures"]["values"] == pytest.approx(dict(ours.values), rel=1e-3)
    with (run / ANALYSIS / "measures.csv").open(newline="", encoding="utf-8") as file:
        assert [row["network"] for row in csv.DictReader(file)] == ["base", "compact"]
    assert "Generalisation measures" in (run / ANALYSIS / ANALYSIS_PAGE).read_text(encoding="utf-8")
    assert found["rankings"] == {}

    assert dnal("analyse", run, "--corruptions", "none", "--measures", 0, "--quiet").status == 0
    assert not (run / ANALYSIS / "measures.csv").exists()
    assert "Generalisation measures" not in (run / ANALYSIS / ANALYSIS_PAGE).read_text(encoding="utf-8")


def test_the_initial_weights_are_those_with_which_the_job_began(here: Path, dnal: Program) -> None:
    """A base of no epochs is as it began."""
    learnt = dnal(
        "learn", "--model", "vgg_small", "--epochs", "0,1,0", "--limit-train", "64", "--seed", "5", "--budget",
        "macs<=50%", "--method", "uniform", "--no-report", "--out", "run",
    )  # fmt: skip
    assert learnt.status == 0, learnt.err
    state = torch.random.get_rng_state()
    found, base = load_initial("run").state_dict(), load_base("run").state_dict()
    assert torch.equal(state, torch.random.get_rng_state())
    assert found.keys() == base.keys()
    assert all(torch.equal(value, base[name]) for name, value in found.items())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("weights: pretrained", "it began with trained weights"),
        ("base_is_trained: true", "it began with trained weights"),
        ("torch: 1.0.0", "it was made by torch 1.0.0"),
        ("techniques: [{name: nio}]", "the technique 'nio' may have changed the weights"),
        ("techniques: [{name: somebody:Elses}]", "the technique 'somebody:Elses' may have changed the weights"),
    ],
)
def test_initial_weights_that_may_have_been_others_are_left_out(
    finished: Path, tmp_path: Path, line: str, said: str
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    config = yaml.safe_load((run / CONFIG).read_text())
    (run / CONFIG).write_text(yaml.safe_dump({**config, **yaml.safe_load(line)}))
    with pytest.raises(UserError, match=said):
        load_initial(run)


def test_networks_of_several_runs_are_ranked_along_their_settings(finished: Path) -> None:
    config = point_of(read_config(finished))
    assert not {"dnal", "torch", "seed"} & config.keys()
    assert {"model", "data", "method.name"} <= config.keys()
    points = {n: {**config, "budget": f"macs<={10 * (n % 3)}%", "lr": 0.1 * (n // 3)} for n in range(6)}
    gaps = {n: 0.01 * n for n in range(6)}
    measured = {
        n: Measured({"params": float(n), "path_norm": -float(n), "l2": n % 3 - n / 10.0}, 1.0, 0.1, 0.1, 1.0, 100)
        for n in range(6)
    }
    found = ranking_of(measured, gaps, points)
    assert found is not None
    assert set(found.axes) == {"budget", "lr"}
    taus = {row.measure: row.tau.value for row in found.rows}
    assert (taus["params"], taus["path_norm"]) == (1, -1)
    assert found.rows[0].measure == "params"
    flips = {row.measure: row.flip for row in found.rows}
    assert flips["params"] is None
    assert flips["l2"] is not None
    assert (flips["l2"].right, flips["l2"].wrong) == ("budget", "lr")
    figure = ranking_figure(found, "networks", "ranking")
    assert figure.table is not None
    assert all(len(row) == len(figure.table.headings) for row in figure.table.rows)
    assert json.dumps(figure.specification())
    assert ranking_of({n: measured[n] for n in range(3)}, gaps, points) is None


def test_every_measure_has_words() -> None:
    assert len({one.name for one in BANK}) == len(BANK) == 26
    assert all(one.what for one in BANK)
