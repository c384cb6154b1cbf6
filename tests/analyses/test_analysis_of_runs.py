"""`dnal analyse`: what it finds of real runs is what their networks say."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dnal as library
from cli_program import Program
from dnal import data
from dnal.analyses.asked import Asked
from dnal.analyses.figures import class_figure
from dnal.analyses.of_run import analyse
from dnal.analyses.page import page
from dnal.analyses.writing import check_folder
from dnal.base.errors import UserError
from dnal.run import load_base, read_result
from dnal.run.files import ANALYSIS, ANALYSIS_PAGE, BASE, CONFIG, DETAILS, MODEL, REPORT, RESULT


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def predictions(network: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    test = data.loaders(data.load("digits", limit_train=300), 64).test
    with torch.inference_mode():
        return torch.cat([network.eval()(x).argmax(1) for x, _ in test]), torch.cat([y for _, y in test])


def test_it_says_of_a_run_what_its_networks_say(dnal: Program, run: Path) -> None:
    np.savez(run.parent / "people.npz", labels=np.eye(10)[predictions(load_base(run))[1]] + 0.1)
    people = f"{run.parent / 'people.npz'}:labels"
    answer = dnal("analyse", run, "--corruptions", "none", "--labels-of-people", people, "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    base, targets = predictions(load_base(run))
    compact, _ = predictions(library.load(run))
    assert [one["name"] for one in found["networks"]] == ["base", "compact"]
    assert [one["macs"] for one in found["networks"]] == [read_result(run)[one]["macs"] for one in ("base", "compact")]
    for one, said in zip(found["networks"], (base, compact), strict=True):
        assert one["accuracy"] == pytest.approx(float((said == targets).double().mean()))
    (pair,) = found["pairs"]
    assert pair["fragile"] == int(((base == targets) & (compact != targets)).sum()) > 0
    assert pair["repaired"] == int(((base != targets) & (compact == targets)).sum())
    apart = float((compact == targets).double().mean() - (base == targets).double().mean())
    assert pair["accuracy_difference"]["value"] == pytest.approx(apart)
    assert set(found["likeness"]) == {
        "CKA of the last features", "rank correlation of the margins", "share of equal answers",
    }  # fmt: skip
    assert found["likeness"]["share of equal answers"][0][1] == pytest.approx(float((base == compact).double().mean()))
    assert set(pair["people"]["disagreement"]) == {"fragile", "repaired", "right", "wrong"}
    assert found["remarks"] == []
    assert found["corruptions"] is None

    folder = run / ANALYSIS
    assert found["files"]["page"] == str(folder / ANALYSIS_PAGE)
    single = rows(folder / "examples.csv")
    assert len(single) == len(targets)
    for row, a, b, y in zip(single, base.tolist(), compact.tolist(), targets.tolist(), strict=True):
        assert (row["base: says"], row["compact: says"], row["class"]) == (str(a), str(b), str(y))
        assert (float(row["base: margin"]) > 0) == (a == y)
        assert (float(row["compact: margin"]) > 0) == (b == y)
        outcome = {(1, 0): "fragile", (0, 1): "repaired", (1, 1): "right", (0, 0): "wrong"}[int(a == y), int(b == y)]
        assert row["compact: outcome"] == outcome
    classes = rows(folder / "classes.csv")
    assert [int(row["examples"]) for row in classes] == torch.bincount(targets).tolist()
    assert sum(int(row["compact: fragile"]) for row in classes) == pair["fragile"]


def test_the_report_links_to_it_and_again_takes_its_place(dnal: Program, run: Path) -> None:
    dnal("report", run)
    assert "analysis.html" not in (run / REPORT).read_text(encoding="utf-8")
    first = dnal("analyse", run, "--corruptions", "none", "--quiet")
    assert (first.status, first.out) == (0, f"{run / ANALYSIS / ANALYSIS_PAGE}\n"), first.err
    made = (run / ANALYSIS / ANALYSIS_PAGE).read_bytes()
    assert dnal("analyse", run, "--corruptions", "none", "--quiet").status == 0
    assert (run / ANALYSIS / ANALYSIS_PAGE).read_bytes() == made
    dnal("report", run)
    assert 'href="analysis/analysis.html"' in (run / REPORT).read_text(encoding="utf-8")
    assert dnal("eval", run).status == 0


def test_corruptions_are_on_the_same_pixels_for_all(dnal: Program, run: Path, own_cache: None) -> None:
    pytest.importorskip("corrupt_tta", reason="it is in the extra corruptions")
    options = ("--corruptions", "gaussian_noise,contrast", "--severities", "1,5", "--images", 100, "--json")
    first, second = (json.loads(dnal("analyse", run, *options).out)["corruptions"] for _ in range(2))
    assert first == second
    assert first["names"] == ["clean", "gaussian_noise", "contrast"]
    assert first["images"] == 100
    noise = [row for row in first["rows"] if row["corruption"] == "gaussian_noise" and row["network"] == "base"]
    assert [row["severity"] for row in noise] == [1, 5]
    assert noise[1]["accuracy"] < noise[0]["accuracy"]
    assert np.allclose(np.diag(np.array(first["redundancy"], dtype=float)), 1)
    assert len(rows(run / ANALYSIS / "corruptions.csv")) == 2 * (1 + 2 * 2)
    assert [one["corruption"] for one in first["apart"]] == ["gaussian_noise", "contrast"]


def test_several_runs_of_one_base_share_it(dnal: Program, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other")
    answer = dnal("analyse", run, tmp_path / "other", "--corruptions", "none", "--out", tmp_path / "both", "--json")
    found = json.loads(answer.out)
    assert [one["name"] for one in found["networks"]] == ["base", "run compact", "other compact"]
    assert found["likeness"]["CKA of the last features"][1][2] == pytest.approx(1)
    assert (tmp_path / "both" / ANALYSIS_PAGE).is_file()


def test_what_is_missing_or_other_is_said(dnal: Program, run: Path) -> None:
    (run / BASE).unlink()
    answer = dnal("analyse", run, "--corruptions", "none")
    assert answer.status == 0
    assert "older versions did not write" in answer.err
    assert "older versions did not write" in (run / ANALYSIS / ANALYSIS_PAGE).read_text(encoding="utf-8")
    result = json.loads((run / RESULT).read_text())
    result["compact"]["accuracy"] += 0.1
    (run / RESULT).write_text(json.dumps(result))
    assert "the data or the files are others" in dnal("analyse", run, "--corruptions", "none").err


def test_a_damaged_base_is_a_remark_and_the_rest_is_looked_at(dnal: Program, run: Path) -> None:
    whole = (run / BASE).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"junk" * 100, (run / MODEL).read_bytes()):
        (run / BASE).write_bytes(content)
        refused_base_is_a_remark(dnal, run)
        with pytest.raises(UserError, match=r"base\.safetensors"):
            load_base(run)
    (run / BASE).unlink()
    (run / BASE).symlink_to("/dev/zero")
    assert "is a link" in refused_base_is_a_remark(dnal, run)
    with pytest.raises(UserError, match=r"base\.safetensors"):
        load_base(run)
    (run / BASE).unlink()
    (run / BASE).mkdir()
    assert "no ordinary file" in refused_base_is_a_remark(dnal, run)


def test_a_base_larger_than_it_may_be_is_not_read(dnal: Program, run: Path) -> None:
    size = 2**36  # with holes: the disk holds next to nothing of it
    header = json.dumps({"x": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with (run / BASE).open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    assert "more than such a file can have" in refused_base_is_a_remark(dnal, run)
    with pytest.raises(UserError, match="more than such a file can have"):
        load_base(run)


def refused_base_is_a_remark(dnal: Program, run: Path) -> str:
    answer = dnal("analyse", run, "--corruptions", "none", "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    assert [one["name"] for one in found["networks"]] == ["compact"]
    assert found["pairs"] == []
    (remark,) = found["remarks"]
    assert "base.safetensors" in remark
    assert not any(other in remark for other in ("save_file", "create the network", "older versions"))
    return str(remark)


def test_a_folder_of_something_else_stays_as_it_is(dnal: Program, run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "examples.csv").write_text("mine")
    answer = dnal("analyse", run, "--corruptions", "none", "--out", tmp_path / "mine")
    assert answer.status == 2
    assert "holds 'examples.csv' and no analysis" in answer.err
    assert (tmp_path / "mine" / "examples.csv").read_text() == "mine"
    (run / ANALYSIS).symlink_to(tmp_path / "mine")
    assert "is a link" in dnal("analyse", run, "--corruptions", "none").err
    assert "there is no corruption 'rain'" in dnal("analyse", run, "--corruptions", "rain", "--out", tmp_path / "x").err


def test_a_run_that_classifies_nothing_is_one_sentence(dnal: Program, run: Path) -> None:
    text = (run / CONFIG).read_text()
    (run / CONFIG).write_text(text.replace("objective: classification", "objective: regression"))
    assert "objective: regression" in (run / CONFIG).read_text()
    answer = dnal("analyse", run)
    assert answer.status == 2
    assert "networks that say classes" in answer.err
    assert not (run / ANALYSIS).exists()
    assert DETAILS in {file.name for file in run.iterdir()}


def test_what_cannot_be_analysed_leaves_no_folder(dnal: Program, run: Path, here: Path) -> None:
    assert dnal("analyse", "nothere").status == 2
    assert dnal("analyse", "nothere", "--out", here / "a" / "b").status == 2
    assert {entry.name for entry in here.iterdir()} == {"run"}
    (run / MODEL).write_bytes(b"")
    assert dnal("analyse", run).status == 2
    assert not (run / ANALYSIS).exists()
    (here / "file").touch()
    for out in (here / "file", here / "file" / "in", here / ("long" * 100)):
        with pytest.raises(UserError, match="cannot be a folder for the analysis"):
            check_folder(out)
    check_folder(here / "a" / "b")
    assert not (here / "a").exists()


def test_wrong_arguments_are_told_before_a_network_runs(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "corrupt_tta", None)  # as where it is not installed
    np.savez(run.parent / "people.npz", cifar10h=np.ones((3, 10)))
    told: list[str] = []
    for asked, what in (
        (Asked(corruptions=("nosuch",)), "no corruption 'nosuch'"),
        (Asked(corruptions=("fog",)), r"dnal\[corruptions\]"),
        (Asked(labels_of_people="gone.npz"), "gone"),
        (Asked(labels_of_people=str(run.parent / "people.npz")), "shape"),
    ):
        with pytest.raises(UserError, match=what):
            analyse(run, asked=asked, tell=told.append)
    with pytest.raises(UserError, match="nothere"):
        analyse([run, run.parent / "nothere"], asked=Asked(corruptions=("none",)), tell=told.append)
    assert told == []
    assert [one.name for one in analyse(run, tell=told.append).networks] == ["base", "compact"]
    assert len(told) == 2  # so each network is told where it runs


def test_labels_of_people_in_another_order_are_told(run: Path) -> None:
    said = np.eye(10)[predictions(load_base(run))[1]] + 0.1
    for shift, words in ((0, 0), (1, 1)):
        np.savez(run.parent / "people.npz", cifar10h=np.roll(said, shift, axis=0))
        asked = Asked(corruptions=("none",), labels_of_people=str(run.parent / "people.npz"))
        assert sum("in the order of these examples" in remark for remark in analyse(run, asked=asked).remarks) == words


def test_the_page_of_a_grown_run_calls_no_network_compact(dnal: Program, here: Path) -> None:
    job = ("--model", "mlp/small", "--data", "wine", "--epochs", "1,2,1")
    assert dnal("grow", "--budget", "params<=125%", *job, "--out", "grown").status == 0
    found = analyse("grown", asked=Asked(corruptions=("none",)))
    assert [one.name for one in found.networks] == ["base", "grown"]
    assert found.pairs[0].attribution is not None
    assert class_figure(found, found.pairs[0], "classes") is not None
    text = re.sub(r"<(script|style).*?</\1>", "", page(found), flags=re.DOTALL)
    assert "the grown network's lengths" in " ".join(html.unescape(text).split())
    assert "in the grown network alone" in text
    assert "compact" not in text
