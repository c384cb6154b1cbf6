"""`hf/FOLDER` on the command line: learn under a budget, load without the folder, evaluate, repeat, resume."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from killed import Processes

import dnal as library
from cli_program import Program
from dnal import models
from dnal.run.files import ARCHITECTURE, CONFIG, MODEL, RESULT, SHAPE
from dnal.space.surgery.running import call
from dnal.train.outputs import logits_of
from hf_folders import saved

transformers = pytest.importorskip("transformers")

ADAM = ("--optimizer", "adamw", "--lr", "0.003", "--batch-size", "32", "--no-report", "--quiet")
IMAGES = ("--data", "digits", "--limit-train", "96", "--epochs", "1,1,1", "--budget", "macs<=70%", *ADAM)
TEXT = ("--data", "negation", "--limit-train", "96", "--epochs", "1,1,1", "--budget", "macs<=80%", *ADAM)


def tokenizer(folder: Path) -> None:
    """Words of the small set as tokens, with what BERT puts around a text, and a padding that is not 0."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["[CLS]", "[SEP]", "[UNK]", "[PAD]"]
    words = [*special, "the", "was", "not", "very", "film", "plot", "cast", "good", "bad", "dull", "funny"]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    made.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run from a folder with weights, and what was in the folder, which is gone."""
    from dnal.cli import app

    place = tmp_path_factory.mktemp("hf")
    saved(place / "folder", "vit")
    with pytest.raises(SystemExit) as ended:
        app(
            ["learn", "--model", f"hf/{place / 'folder'}", "--weights", "pretrained", *IMAGES, "--out",
             str(place / "run")], prog_name="dnal",
        )  # fmt: skip
    assert ended.value.code == 0
    (place / "folder").rename(place / "elsewhere")
    return place / "run", place / "elsewhere"


def test_a_run_keeps_what_its_network_is_made_of(vit: tuple[Path, Path], dnal: Program, tmp_path: Path) -> None:
    run, _ = vit
    config = yaml.safe_load((run / CONFIG).read_text())
    assert models.is_written_out(config["model"])
    assert config["weights"] == f"hf/{run.parent / 'folder'}"
    assert config["input"] == [1, 8, 8]
    result = json.loads((run / RESULT).read_text())
    assert result["compact"]["macs"] <= 0.7 * result["base"]["macs"]
    small = library.load(run)
    assert isinstance(small, transformers.ViTForImageClassification)
    found = dnal("eval", run, "--json")
    assert found.status == 0, found.err
    assert json.loads(found.out)["differs"] == []
    again = library.load(run / SHAPE)
    assert [p.shape for p in again.parameters()] == [p.shape for p in small.parameters()]


def test_compact_is_hard_gated(vit: tuple[Path, Path]) -> None:
    """Of the base's weights: what the architecture closes is zero there, and gone in the compact network."""
    from independent import assert_exact

    run, _ = vit
    network = library.run.loading.load_base(run)
    inputs = torch.rand(2, 1, 8, 8)
    space = library.Space.of(network, inputs)
    assert_exact(network, inputs, space, library.Architecture.load(run / ARCHITECTURE))


def test_repeating_needs_the_weights_and_says_so(vit: tuple[Path, Path], dnal: Program, tmp_path: Path) -> None:
    run, folder = vit
    answer = dnal("learn", "--like", run, "--out", tmp_path / "again", "--quiet", "--no-report")
    assert answer.status == 2
    assert "there is no folder" in answer.err
    shutil.copytree(folder, run.parent / "folder")
    answer = dnal("learn", "--like", run, "--out", tmp_path / "again", "--quiet", "--no-report")
    shutil.rmtree(run.parent / "folder")
    assert (answer.status, answer.err) == (0, "")
    assert (tmp_path / "again" / MODEL).read_bytes() == (run / MODEL).read_bytes()


def test_a_run_that_names_a_folder_reads_none(vit: tuple[Path, Path], tmp_path: Path) -> None:
    """Loading opens nothing outside of the run."""
    run, folder = vit
    shutil.copytree(run, tmp_path / "run")
    config = yaml.safe_load((tmp_path / "run" / CONFIG).read_text())
    (tmp_path / "run" / CONFIG).write_text(yaml.safe_dump({**config, "model": f"hf/{folder}"}))
    from dnal.run.files import MANIFEST
    from dnal.run.manifest import manifest_of

    (tmp_path / "run" / MANIFEST).write_text(manifest_of(tmp_path / "run"))
    with pytest.raises(library.UserError, match="a place outside of the run"):
        library.load(tmp_path / "run")


def test_a_text_classifier_learns_in_its_own_tokens(here: Path, dnal: Program) -> None:
    saved(here / "folder", "bert", classes=2)
    answer = dnal("learn", "--model", "hf/folder", "--weights", "pretrained", *TEXT, "--out", "run")
    assert answer.status == 2
    assert "has no tokenizer.json" in answer.err
    tokenizer(here / "folder")
    answer = dnal("learn", "--model", "hf/folder", "--weights", "pretrained", *TEXT, "--out", "run")
    assert answer.status == 0, answer.err
    config = yaml.safe_load((here / "run" / CONFIG).read_text())
    assert config["data"] == "negation:tokens=folder/tokenizer.json"
    assert config["input"] == [19, 64]
    small = library.load("run")
    assert logits_of(call(small, {"input_ids": torch.ones(2, 5).long()})).shape == (2, 2)
    found = dnal("eval", "run", "--json")
    assert found.status == 0, found.err
    assert json.loads(found.out)["differs"] == []
    shutil.rmtree(here / "folder")
    answer = dnal("eval", "run")
    assert answer.status == 2
    assert "there is none at 'folder/tokenizer.json'" in answer.err
    library.load("run")


def test_tokens_of_a_file(tmp_path: Path) -> None:
    """Against the library itself, with its padding and its mask."""
    from tokenizers import Tokenizer

    from dnal.data.text.sets import read_negation

    tokenizer(tmp_path)
    found = library.data.load(f"negation:tokens={tmp_path}", input_shape=(6, 64))
    batch = found.train.batch(torch.arange(len(found.train)), 0)
    own = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    own.enable_truncation(6)
    own.enable_padding(pad_id=3, pad_token="[PAD]", length=6)
    raw = read_negation(None).train
    assert not isinstance(raw, str)
    expected = {(tuple(one.ids), tuple(one.attention_mask)) for one in own.encode_batch(list(raw.texts))}
    rows = zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True)
    assert {(tuple(ids), tuple(mask)) for ids, mask in rows} <= expected
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 3).all()
    assert (batch["input_ids"][:, 0] == 0).all()
    for content, sentence in ((b"{}", "is no tokenizer.json"), (b"\xff", "no text in UTF-8"), (None, "there is none")):
        path = tmp_path / "tokenizer.json"
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(library.UserError, match=sentence):
            library.data.load(f"negation:tokens={tmp_path}")


def test_the_space_of_a_folder(here: Path, dnal: Program) -> None:
    saved(here / "folder", "resnet")
    answer = dnal("space", "--model", "hf/folder", "--input", "1,8,8", "--json")
    assert answer.status == 0, answer.err
    assert json.loads(answer.out)["variables"] > 0
    answer = dnal("learn", "--model", "hf/nowhere/at/all", "--out", "run")
    assert answer.status == 2
    assert "there is no folder" in answer.err
    assert not (here / "run").exists()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    """Without its folder, since its weights were drawn."""
    saved(tmp_path / "folder", "vit")
    processes = Processes(tmp_path)
    job = ["learn", "--model", "hf/folder", *IMAGES, "--checkpoint-every", "2"]
    assert processes([*job, "--out", "whole"]).status == 0
    assert processes([*job, "--out", "run"], at=5).status == -signal.SIGKILL
    shutil.rmtree(tmp_path / "folder")
    resumed = processes(["resume", "run", "--no-report"])
    assert (resumed.status, resumed.err) == (0, "")
    for file in (ARCHITECTURE, MODEL, CONFIG):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
