"""Bad input gets one sentence and exit status 2, no traceback, and leaves no run folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cli_program import SHORT, Program
from dnal import models


def images(count: int, side: int = 8) -> np.ndarray:
    return np.random.RandomState(0).rand(count, side, side).astype("float32")


@pytest.fixture
def files(here: Path) -> Path:
    """A current directory with files that are wrong, each in its own way."""
    y = np.arange(60) % 10
    good = {"x_train": images(60), "y_train": y, "x_test": images(20), "y_test": y[:20]}
    np.savez("good.npz", **good)
    np.savez("high_label.npz", **{**good, "y_train": y + 1})
    np.savez("negative_label.npz", **{**good, "y_test": y[:20] - 1})
    np.savez("from_one.npz", **{**good, "y_train": y + 1, "y_test": y[:20] + 1})
    with_nan = images(60)
    with_nan[7, 0, 0] = np.nan
    np.savez("nan.npz", **{**good, "x_train": with_nan})
    np.savez("no_keys.npz", x_train=good["x_train"], y_train=y)
    Path("text.npz").write_text("not an archive")
    Path("a_file").write_text("a file")
    Path("empty_folder").mkdir()
    Path("notes").mkdir()
    Path("notes/todo.txt").write_text("keep me")
    save_file(models.create("cifar/resnet20").state_dict(), "resnet20.safetensors")
    wider = {k: torch.cat([v, v]) if v.dim() else v for k, v in models.create("vgg_small").state_dict().items()}
    save_file(wider, "wider.safetensors")
    Path("text.safetensors").write_text("not tensors")
    Path("wrong_outputs.py").write_text("from torch import nn\ndef net():\n    return nn.Conv2d(1, 8, 3)\n")
    Path("nothing_to_remove.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    return here


BAD = {
    "unknown model": (["--model", "vgg_smal"], "did you mean 'vgg_small'"),
    "unknown torchvision model": (["--model", "torchvision/resnet19"], "torchvision/resnet18"),
    "unknown timm model": (["--model", "timm/resnet51"], "timm/resnet"),
    "model without its prefix": (["--model", "mobilenet_v2"], "torchvision/mobilenet_v2"),
    "no such module": (["--model", "no_such_module:net"], "no_such_module"),
    "model with wrong outputs": (["--model", "wrong_outputs:net"], "(1, 10)"),
    "model with nothing to remove": (["--model", "nothing_to_remove:net"], "can be removed"),
    "unknown data": (["--data", "digit"], "did you mean 'digits'"),
    "missing npz": (["--data", "missing.npz"], "missing.npz"),
    "npz without the keys": (["--data", "no_keys.npz"], "x_test"),
    "npz that is none": (["--data", "text.npz"], "not an npz"),
    "NaN in the data": (["--data", "nan.npz"], "NaN"),
    "label outside the classes": (["--data", "high_label.npz", "--classes", "10"], "label 10"),
    "negative label": (["--data", "negative_label.npz"], "negative label -1"),
    "fewer classes than labels": (["--classes", "5"], "classes"),
    "folder without images": (["--data", "empty_folder"], "train/"),
    "missing root": (["--data", "cifar10", "--root", "no_such_folder"], "no_such_folder"),
    "budget that is none": (["--budget", "small"], "macs<=30%"),
    "unknown cost": (["--budget", "joules<=30%"], "known are macs, params"),
    "budget below the least": (["--budget", "macs<=0.01%"], "below the least possible"),
    "budget above the base": (["--budget", "params<=5M"], "not below the base"),
    "budget of zero": (["--budget", "macs<=0"], "above zero"),
    "negative budget": (["--budget", "macs<=-5%"], "above zero"),
    "the same cost twice": (["--budget", "macs<=30%,macs<=20%"], "twice"),
    "the same budget twice": (["--budget", "macs<=30%", "--budget", "macs <= 30.0 %"], "given twice"),
    "a second budget below the least": (["--budget", "macs<=30%", "--budget", "macs<=0.01%"], "below the least"),
    "budget below the least of the widths": (["--divisor", "32", "--budget", "macs<=15%"], "below the least possible"),
    "multiple of zero": (["--divisor", "0"], "--divisor"),
    "multiple in words": (["--divisor", "best"], "--divisor"),
    "least width of one and a half": (["--min-width", "1.5"], "--min-width is a whole number of channels"),
    "least width of zero": (["--min-width", "0"], "--min-width"),
    "negative least width": (["--min-width", "-0.1"], "--min-width"),
    "deploy batch of zero": (["--deploy-batch-size", "0"], "--deploy-batch-size"),
    "unknown backend": (["--backend", "tpu"], "unknown backend 'tpu'"),
    "like nothing": (["--like", "nowhere"], "no run 'nowhere'"),
    "like a folder that is no run": (["--like", "notes"], "is no run"),
    "several budgets into a file": (["--budget", "macs<=30%", "--budget", "macs<=20%", "--out", "a_file"], "a file"),
    "unknown method": (["--method", "papper"], "did you mean 'paper'"),
    "unknown precision": (["--precision", "16"], "16-mixed"),
    "a penalty without the paper": (["--method", "dnal:penalty=0.1"], "has no option 'penalty'"),
    "a negative penalty": (["--method", "paper:penalty=-1"], "penalty is 0 or more"),
    "zero epochs": (["--epochs", "0"], "--epochs is 3 or more"),
    "negative epochs": (["--epochs", "-3"], "--epochs"),
    "a phase of zero epochs": (["--epochs", "1,0,1"], "--epochs is 0 or more for each phase"),
    "two phases": (["--epochs", "5,5"], "--epochs"),
    "epochs in words": (["--epochs", "ten"], "--epochs"),
    "fewer epochs than phases": (["--epochs", "2"], "--epochs is 3 or more"),
    "zero lr": (["--lr", "0"], "--lr"),
    "negative lr": (["--lr", "-0.1"], "--lr"),
    "lr that is no number": (["--lr", "nan"], "--lr"),
    "infinite lr": (["--lr", "inf"], "--lr"),
    "zero batch size": (["--batch-size", "0"], "--batch-size"),
    "negative batch size": (["--batch-size", "-64"], "--batch-size"),
    "negative workers": (["--workers", "-1"], "--workers"),
    "negative seed": (["--seed", "-1"], "--seed"),
    "a seed of more than 63 bits": (["--seed", str(2**63)], "at most 9223372036854775807"),
    "more workers than any machine": (["--workers", "1000000"], "--workers is 0 or more and at most 1024"),
    "a batch of more images than there are": (
        ["--batch-size", str(10**12)],
        "--batch-size is 1 or more and at most 2147483647",
    ),
    "epochs without an end": (["--epochs", "9" * 5000], "--epochs"),
    "an input without an end": (["--input", f"1,8,{10**15}"], "--input"),
    "an input of gigabytes": (["--input", "1,100000,100000"], "choose a smaller input"),
    "a multiple without an end": (["--divisor", "9" * 5000], "--divisor"),
    "a least width without an end": (["--min-width", "9" * 5000], "--min-width"),
    "a name of data that no file has": (["--data", "x" * 300], "has a name of 300 bytes"),
    "a name of weights that no file has": (["--weights", "x" * 300], "has a name of 300 bytes"),
    "a name of a run that no folder has": (["--out", "x" * 300], "has a name of 300 bytes"),
    "like a name that no folder has": (["--like", "x" * 300], "has a name of 300 bytes"),
    "labels that begin at 1": (["--data", "from_one.npz"], "the labels are 1 to 10, and labels count from 0"),
    "an lr that float32 does not have": (["--lr", "1e300"], "--lr is more than 0 and at most 1e+30"),
    "more classes than there is memory for": (
        ["--classes", "2000000000"],
        "--classes is 1 or more and at most 4194304",
    ),
    "a deploy batch of gigabytes": (
        ["--deploy-batch-size", "2000000000"],
        "--deploy-batch-size is 1 or more and at most 65536",
    ),
    "zero limit": (["--limit-train", "0"], "--limit-train"),
    "negative limit": (["--limit-train", "-5"], "--limit-train"),
    "limit above the images": (["--limit-train", "5000000"], "limit_train"),
    "zero classes": (["--classes", "0"], "--classes"),
    "input of two sizes": (["--input", "8,8"], "--input"),
    "input in words": (["--input", "small"], "--input"),
    "input with a zero": (["--input", "1,0,8"], "--input"),
    "negative input": (["--input", "1,-8,8"], "--input"),
    "input too small for the model": (["--model", "cifar/vgg16_bn"], "16x16"),
    "missing weights": (["--weights", "missing.safetensors"], "missing.safetensors"),
    "weights of another network": (["--weights", "resnet20.safetensors"], "features.0.weight"),
    "weights of other shapes": (["--weights", "wider.safetensors"], "features.0.weight"),
    "weights that are none": (["--weights", "text.safetensors"], "text.safetensors"),
    "weights that no one trained": (["--weights", "pretrained"], "no pretrained weights"),
    "out is a file": (["--out", "a_file"], "'a_file' is a file"),
    "out in a file": (["--out", "a_file/run"], "'a_file' is a file"),
    "out is a folder of something else": (["--out", "notes"], "is no run"),
    "overwriting something else": (["--out", "notes", "--overwrite"], "is no run"),
}


@pytest.mark.parametrize(("arguments", "expected"), BAD.values(), ids=BAD.keys())
def test_one_sentence_status_2_and_no_folder(files: Path, dnal: Program, arguments: list[str], expected: str) -> None:
    before = sorted(files.rglob("*"))
    defaults = [*SHORT[2:]] if any(option in arguments for option in ("--epochs", "--data")) else [*SHORT]
    if "--limit-train" in arguments or "--data" in arguments:
        defaults = [*SHORT[:2]] if "--epochs" not in arguments else []
    answer = dnal("learn", *defaults, *arguments)
    assert answer.status == 2, answer.out
    assert answer.out == ""
    assert answer.err.count("\n") == 1, answer.err
    assert answer.err.startswith("dnal: ")
    assert expected in answer.err
    after = sorted(file for file in files.rglob("*") if "__pycache__" not in file.parts)
    assert after == before


def test_the_message_of_an_impossible_budget_says_the_least(here: Path, dnal: Program) -> None:
    from dnal.selection.select import least_costs
    from dnal.space.space import Space

    space = Space.of(models.create("vgg_small"), torch.rand(1, 1, 8, 8))
    answer = dnal("learn", "--budget", "params<=1")
    assert answer.status == 2
    assert f"from {least_costs(space)['params']:g} " in answer.err


def test_a_folder_that_cannot_be_written(here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    # Refused by the system as for an ordinary user; tests may run as one who may write anywhere.
    monkeypatch.setattr("dnal.run.writer.os.access", lambda path, mode: False)
    answer = dnal("learn", *SHORT, "--out", "run")
    assert answer.status == 2
    assert "nothing may be written" in answer.err
    assert list(here.iterdir()) == []


def test_a_folder_that_turns_out_not_to_be_writable(here: Path, dnal: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dnal.base.atomic.os.fsync", full)
    answer = dnal("learn", *SHORT, "--out", "deep/run")
    assert answer.status == 2
    assert "No space left" in answer.err
    assert answer.err.count("\n") == 1
    assert not (here / "deep" / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["eval", "nowhere"], "no run 'nowhere'"),
        (["eval", "notes"], "config.yaml"),
        (["eval", "a_file"], "no run 'a_file'"),
        (["space", "--model", "resnet_twenty"], "unknown model"),
        (["space", "--input", "1,8"], "--input"),
        (["space", "--classes", "-1"], "--classes"),
        (["space", "--divisor", "0"], "--divisor"),
        (["space", "--min-width", "1.5"], "--min-width"),
        *(([command, "x" * 300], "has a name of 300 bytes") for command in ("eval", "resume", "report", "sweep")),
        (["export", "x" * 300, "--to", "onnx"], "has a name of 300 bytes"),
        (["space", "--model", "x" * 5000], "unknown model"),
    ],
)
def test_the_other_commands_do_the_same(files: Path, dnal: Program, arguments: list[str], expected: str) -> None:
    answer = dnal(*arguments)
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert expected in answer.err


@pytest.mark.parametrize("arguments", [["learn", "--no-such-option"], ["learn", "--lr", "fast"], ["eval"], ["nothing"]])
def test_wrong_usage_is_status_2_without_a_traceback(dnal: Program, arguments: list[str]) -> None:
    answer = dnal(*arguments)
    assert answer.status == 2
    assert "Traceback" not in answer.err


def test_the_real_program_shows_no_traceback(here: Path) -> None:
    command = [sys.executable, "-c", "from dnal.cli import main; main()", "learn", "--model", "torchvision/resnet19"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert list(here.iterdir()) == []
