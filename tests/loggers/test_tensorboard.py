"""--log-to tensorboard, read back with TensorBoard's own reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from interrupted import interrupted

from cli_program import Program
from dnal.base.errors import UserError
from dnal.loggers import logs_of
from dnal.loggers.log import metrics_of
from dnal.loggers.names import BOARD, LOGGERS
from dnal.run import read_config, read_result
from dnal.run.files import LOG, MODEL

pytest.importorskip("tensorboard")


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every curve, as TensorBoard shows it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / BOARD)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def settings(run: Path) -> tuple[dict[str, Any], list[str]]:
    """Of TensorBoard's table of runs: the settings, and the figures beside them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    events = EventAccumulator(str(run / BOARD)).Reload()
    found = {tag: m.plugin_data.content for tag, m in events.summary_metadata.items() if tag.startswith("_hparams_")}
    start = metadata.parse_session_start_info_plugin_data(found["_hparams_/session_start_info"])
    experiment = metadata.parse_experiment_plugin_data(found["_hparams_/experiment"])
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    return values, [info.name.tag for info in experiment.metric_infos]


def test_every_epoch_once_and_the_figures_of_a_run_that_was_killed(
    here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = here / "run"
    interrupted("tensorboard", monkeypatch)
    assert [step for step, _ in scalars(run)["base/loss"]] == [1, 2]
    assert logs_of(run) == ["tensorboard"]
    resumed = dnal("resume", "run")
    assert (resumed.status, resumed.err) == (0, "")

    curves = scalars(run)
    records = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    for step, record in enumerate(records, 1):
        for name, value in metrics_of(record).items():
            assert [v for s, v in curves[name] if s == step] == [pytest.approx(value, rel=1e-6)], (name, step)
    result = read_result(run)
    for name in ("macs", "params", "accuracy"):
        assert curves[f"result/compact_{name}"] == [(5, pytest.approx(result["compact"][name], rel=1e-6))]
    assert curves["result/holds"] == [(5, 1.0)]

    values, figures = settings(run)
    assert (values["model"], values["budget"], values["epochs"]) == ("vgg_small", "macs<=30%", "2, 1, 1")
    assert set(figures) <= curves.keys()


@pytest.mark.slow
def test_a_log_is_no_part_of_what_a_run_is(here: Path, dnal: Program, finished: Path) -> None:
    short = ("--epochs", "1,1,1", "--limit-train", "300")
    assert dnal("learn", *short, "--out", "run", "--log-to", "tensorboard").status == 0
    run = here / "run"
    assert (run / MODEL).read_bytes() == (finished / MODEL).read_bytes()
    assert read_config(run) == read_config(finished)
    again = dnal("learn", "--like", "run", "--out", "again")
    assert (again.status, again.err) == (0, "")
    assert not (here / "again" / LOGGERS).exists()
    assert (here / "again" / MODEL).read_bytes() == (finished / MODEL).read_bytes()
    assert dnal("learn", "--like", "run", "--out", "run", "--overwrite").status == 0
    assert not (run / LOGGERS).exists()
    assert not (run / BOARD).exists()


@pytest.mark.slow
def test_every_run_of_a_trade_off_has_its_log(here: Path, dnal: Program) -> None:
    budgets = ("--budget", "macs<=50%", "--budget", "macs<=25%")
    job = ("learn", "--epochs", "1,1,1", "--limit-train", "200", *budgets, "--out", "curve")
    assert dnal(*job, "--log-to", "tensorboard").status == 0
    for name, share in (("macs50pct", 0.5), ("macs25pct", 0.25)):
        curves = scalars(here / "curve" / name)
        assert [step for step, _ in curves["base/loss"]] == [1]
        assert [step for step, _ in curves["retrain/loss"]] == [3]
        assert curves["result/compact_macs"][0][1] <= share * curves["result/base_macs"][0][1]


def test_a_link_in_the_place_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").symlink_to("../theirs")
    from dnal.loggers.to_tensorboard import opened

    with pytest.raises(UserError, match="is a link"):
        opened(tmp_path / "run", None)
    assert not list((tmp_path / "theirs").iterdir())
