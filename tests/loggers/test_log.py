"""A job told to a logger of Lightning: what it hears, when it goes on, and when it fails."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.loggers.csv_logs import CSVLogger
from lightning.fabric.loggers.logger import Logger

import dnal
from dnal import loggers
from dnal.loggers import named
from dnal.loggers.log import Log, figures_of, metrics_of
from dnal.loggers.names import LOGGERS
from dnal.loggers.opened import Opened
from dnal.train.listener import Listeners
from dnal.train.loop import Stopped


class Book(Logger):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int | None, dict[str, float]]] = []
        self.settings: list[dict[str, Any]] = []
        self.ends: list[str] = []
        self.cuts: list[int] = []

    @property
    def name(self) -> str:
        return "book"

    @property
    def version(self) -> str:
        return "1"

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.told.append((step, metrics))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        assert isinstance(params, dict)
        self.settings.append(params)

    def finalize(self, status: str) -> None:
        self.ends.append(status)


def learned(epochs: tuple[int, int, int], **others: Any) -> dnal.Learned:
    digits = dnal.data.load("digits", limit_train=200)
    train, val, test = dnal.data.loaders(digits, 64)
    network = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    return dnal.learn(network, train, val, test, epochs=epochs, **others)


def stop_after(steps: int) -> Any:
    left = iter(range(steps))
    return lambda: next(left, None) is None


def test_settings_every_epoch_and_the_figures(tmp_path: Path) -> None:
    book = Book()
    result = learned((2, 1, 1), listener=Log(book, {"model": "vgg_small"}))
    assert book.settings == [{"model": "vgg_small", **result.settings}]
    *epochs, end = book.told
    assert [step for step, _ in epochs] == [1, 2, 3, 4]
    assert [metrics for _, metrics in epochs] == [metrics_of(record) for record in result.history]
    assert end == (5, figures_of(result))
    assert book.ends == ["success"]
    assert epochs[0][1]["base/loss"] == result.history[0]["loss"]
    assert epochs[2][1]["architecture/macs_hard"] <= 0.3 * result.figures.base.macs
    assert end[1]["result/compact_accuracy"] == result.figures.compact.metric
    assert end[1]["result/holds"] == 1.0


def test_an_epoch_is_told_in_numbers_by_its_phase() -> None:
    record = {"phase": "architecture", "epoch": 3, "epochs": 5, "loss": 0.5, "open": 1, "gates": [1, 2], "note": "x"}
    assert metrics_of(record) == {"architecture/loss": 0.5, "architecture/open": 1.0}


def test_any_logger_of_lightning_will_do(tmp_path: Path) -> None:
    record = {"phase": "base", "epoch": 1, "epochs": 1, "loss": 0.5}
    with Log(CSVLogger(tmp_path, name="", version="")) as log:
        with pytest.warns(UserWarning, match="CSVLogger did not take a part of the log"):  # it knows no settings
            log.start({"seed": 3})
        log.epoch(record)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["base/loss,step", "0.5,1"]


def test_a_job_that_goes_on_goes_on_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books: list[Book] = []

    def opened(folder: Path, known: str | None) -> Opened:
        book = Book()
        books.append(book)
        assert (folder, known) == (tmp_path, None if len(books) == 1 else "page 7")
        return Opened(book, "page 7", book.cuts.append)

    monkeypatch.setattr("dnal.loggers.to_tensorboard.opened", opened)
    with pytest.raises(Stopped), loggers.log_to("tensorboard", tmp_path) as log:
        learned((2, 1, 1), listener=log, checkpoints=tmp_path, stop=stop_after(5))
    assert loggers.logs_of(tmp_path) == ["tensorboard"]
    result = learned((2, 1, 1), listener=loggers.log_to("tensorboard", tmp_path), checkpoints=tmp_path)
    first, second = books
    assert (len(first.settings), first.ends, first.cuts) == (1, ["failed"], [])
    assert (second.settings, second.ends, second.cuts) == ([], ["success"], [1])
    told = first.told + second.told
    assert [step for step, _ in told] == [1, 2, 3, 4, 5]
    assert [metrics for _, metrics in told[:-1]] == [metrics_of(record) for record in result.history]


def test_a_logger_that_fails_does_not_end_the_job() -> None:
    class Gone(Book):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            raise ConnectionError("no route\nto host")

    log = Log(Gone())
    with pytest.warns(UserWarning, match=r"Gone did not take a part of the log \(no route to host\); the job goes on"):
        log.epoch({"phase": "base", "epoch": 1, "epochs": 1, "loss": 0.5})


def test_a_logger_that_cannot_be_opened_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(folder: Path, known: str | None) -> Opened:
        raise PermissionError("log in first.")

    monkeypatch.setattr("dnal.loggers.to_tensorboard.opened", opened)
    with pytest.raises(dnal.UserError, match=r"'tensorboard' cannot be used \(log in first\); leave it out"):
        learned((1, 1, 1), listener=loggers.log_to("tensorboard", tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_wrong_and_packages_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(dnal.UserError, match="did you mean 'mlflow'"):
        loggers.check(["mflow"])
    with pytest.raises(dnal.UserError, match="given twice"):
        loggers.check(["wandb", "wandb"])
    monkeypatch.setattr(named, "find_spec", lambda name: None)
    for name in loggers.NAMES:
        with pytest.raises(dnal.UserError, match=rf"pip install 'dnal\[{name}\]'"):
            loggers.log_to(name, tmp_path)


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.machinery import PathFinder

    (tmp_path / "wandb").mkdir()  # where W&B itself writes
    monkeypatch.setattr(named, "find_spec", lambda name: PathFinder.find_spec(name, [str(tmp_path)]))
    with pytest.raises(dnal.UserError, match="needs the package wandb"):
        loggers.check(["wandb"])


@pytest.mark.parametrize("text", ["", "[]", '{"mlflow": 3}', "\x00"])
def test_a_damaged_note_of_the_logs_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / LOGGERS).write_text(text)
    with pytest.raises(dnal.UserError, match="does not say which logs there are"):
        loggers.logs_of(tmp_path)


def test_several_loggers_hear_the_same() -> None:
    one, other = Book(), Book()
    learned((1, 1, 1), listener=Listeners([Log(one), Log(other)]))
    assert one.told == other.told
    assert len(one.told) == 4
