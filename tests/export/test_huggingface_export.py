"""`dnal export --to hf`: what transformers reads of the folder is the compact network, or a sentence says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import dnal as library
from cli_program import Program
from dnal import models
from dnal.models.huggingface.widths import said
from dnal.space.surgery.running import call
from dnal.train.outputs import logits_of
from hf_folders import network_of, saved

transformers = pytest.importorskip("transformers")

LEARN = (
    "--data", "digits", "--limit-train", "96", "--optimizer", "adamw", "--lr", "0.003", "--batch-size", "32",
    "--no-report", "--quiet",
)  # fmt: skip
AT_ONCE = (*LEARN, "--method", "magnitude", "--epochs", "0,0,0")
OPEN = ("--norms", "open", "--budget", "macs<=60%", "--out", "run")
LEARNT = pytest.param((*LEARN, "--epochs", "1,1,1"), marks=pytest.mark.slow, id="learnt")


def shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def told(folder: Path, family: str) -> models.huggingface.configuration.Configuration:
    saved(folder, family)
    return models.configuration_of(f"hf/{folder}")


@pytest.mark.parametrize("job", [pytest.param(AT_ONCE, id="at once"), LEARNT])
def test_what_transformers_reads_is_the_compact_network(job: tuple[str, ...], here: Path, dnal: Program) -> None:
    saved(here / "vit", "vit")
    answer = dnal("learn", "--model", "hf/vit", *job, "--uniform-layers", *OPEN)
    assert answer.status == 0, answer.err
    answer = dnal("export", "run", "--to", "hf", "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    assert max(found["differences"].values()) <= 1e-5
    folder = here / "run" / "hf"
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    again = transformers.AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).eval()
    small = library.load("run")
    inputs = torch.randn(5, 1, 8, 8)
    expected = logits_of(call(small, inputs))
    assert isinstance(expected, Tensor)
    assert torch.allclose(again(inputs).logits, expected, rtol=1e-5, atol=1e-5)
    assert shapes(again) == shapes(small) != shapes(network_of("vit"))
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"]["3"] == "3"
    assert config["intermediate_size"] < 24
    # The folder is a model like any other: it is learnt on from there.
    network = models.create(f"hf/{folder}", pretrained=True).eval()
    assert torch.allclose(logits_of(call(network, inputs)), expected, rtol=1e-5, atol=1e-5)
    assert dnal("export", "run", "--to", "hf", "--quiet").out.strip() == str(Path("run") / "hf")


def test_widths_that_no_configuration_says(here: Path, dnal: Program) -> None:
    """One layer is kept as it is, the other one is not; and a place that holds something else."""
    saved(here / "vit", "vit")
    kept = ("--exclude", "vit.layers.0.*", "--budget", "macs<=90%", "--out", "run")
    answer = dnal("learn", "--model", "hf/vit", *AT_ONCE, *kept)
    assert answer.status == 0, answer.err
    answer = dnal("export", "run", "--to", "hf")
    assert answer.status == 2
    assert "no configuration of ViTForImageClassification says these widths: 'vit.layers." in answer.err
    assert "--uniform-layers" in answer.err
    assert not (here / "run" / "hf").exists()
    answer = dnal("export", "run", "--to", "hf", "--out", here)
    assert answer.status == 2
    assert "holds other files" in answer.err


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("vit", {"intermediate_size": 10}), ("vit", {"num_attention_heads": 2, "head_dim": 4}),
        ("deit", {"intermediate_size": 7, "num_attention_heads": 3, "head_dim": 4}),
        ("vit", {"hidden_size": 12, "intermediate_size": 5, "head_dim": 4}), ("bert", {"intermediate_size": 9}),
        ("distilbert", {"hidden_dim": 11}), ("roberta", {"intermediate_size": 20}),
        ("resnet", {"embedding_size": 5, "hidden_sizes": [5, 9]}), ("convnext", {"hidden_sizes": [6, 10]}),
        ("segformer", {"mlp_ratios": [1, 3]}),
    ],
)  # fmt: skip
def test_the_configuration_is_found_from_the_shapes(family: str, values: dict, tmp_path: Path) -> None:
    """Against networks that transformers builds with these numbers."""
    own = told(tmp_path, family)
    sizes = models.default_input(models.name_of(own.document))
    wanted = network_of(family, **values)
    found = said(own, 10, sizes, shapes(wanted))
    for key, value in values.items():
        assert getattr(found, key) == value


@pytest.mark.parametrize(
    ("name", "sizes", "sentence"),
    [
        ("vit.layers.1.mlp.fc1.bias", (9,), "one number for both; learn with --uniform-layers"),
        ("vit.layers.0.attention.q_proj.bias", (12,), "--uniform-layers"),
        ("vit.embeddings.position_embeddings", (1, 5, 15), "by any configuration; learn with --exclude"),
        ("vit.layers.1.mlp.fc1.bias", None, "is left out of the network"),
    ],
)
def test_a_sentence_says_which_widths_differ(
    name: str, sizes: tuple[int, ...] | None, sentence: str, tmp_path: Path
) -> None:
    own = told(tmp_path, "vit")
    other = shapes(network_of("vit"))
    assert name in other
    if sizes is None:
        del other[name]
    else:
        other[name] = sizes
    with pytest.raises(library.UserError) as refused:
        said(own, 10, (1, 8, 8), other)
    assert sentence in str(refused.value)
    assert name.rpartition(".")[0] in str(refused.value)


def test_other_models_and_places(here: Path, finished: Path, dnal: Program) -> None:
    answer = dnal("export", finished, "--to", "hf")
    assert answer.status == 2
    assert "a run whose model was hf/FOLDER" in answer.err
    assert dnal("export", finished, "--to", "hf", "--quantize", "int8").status == 2
