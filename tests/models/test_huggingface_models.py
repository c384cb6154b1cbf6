"""`hf/FOLDER`: networks of transformers from folders that may be anybody's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import dnal
from dnal import models
from dnal.data import KINDS
from dnal.models.downloaded import kept_only
from dnal.models.skeleton import memory_of, outline, skeleton
from dnal.space.surgery.running import call
from dnal.train.outputs import logits_of
from hf_folders import FAMILIES, network_of, saved

transformers = pytest.importorskip("transformers")


def changed(folder: Path, **values: Any) -> None:
    """Other values in config.json; None takes one away."""
    path = folder / "config.json"
    document = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_built_is_filled_and_comes_back(family: str, tmp_path: Path) -> None:
    """With the weights of its folder; from its configuration alone; and without memory, as a run loads it."""
    own = saved(tmp_path / "own", family)
    name = f"hf/{tmp_path / 'own'}"
    configuration = models.configuration_of(name)
    kind, sizes = KINDS[configuration.kind], models.default_input(name)
    expected = "text" if "ForSequence" in configuration.architecture else "images"
    assert models.kind_of(name) == configuration.kind == expected
    inputs = kind.drawn(sizes, 3)
    network = models.create(name, pretrained=True)
    expected = logits_of(call(own, inputs))
    assert torch.equal(logits_of(call(network.eval(), inputs)), expected)
    alone = models.name_of(configuration.document)
    assert not set(alone) & set(" \n\t")
    shutil.rmtree(tmp_path / "own")
    torch.manual_seed(0)
    fresh = models.create(alone, classes=3, input_shape=sizes)
    assert logits_of(call(fresh.eval(), inputs)).shape == (3, 3)
    save_file(own.state_dict(), tmp_path / "own.safetensors")
    empty = skeleton(alone, classes=10, input_shape=sizes, largest=2**20)
    models.load_weights(empty, tmp_path / "own.safetensors")
    assert torch.equal(logits_of(call(empty.eval(), inputs)), expected)
    assert 0 < memory_of(outline(alone, classes=10, input_shape=sizes)) < 2**24


def test_images_and_classes_follow_the_data(tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    network = models.create(f"hf/{tmp_path}", classes=4, input_shape=(3, 16, 12))
    assert logits_of(network(torch.rand(2, 3, 16, 12))).shape == (2, 4)


def test_a_body_gets_a_head_and_says_that_it_is_fresh(tmp_path: Path) -> None:
    own = saved(tmp_path, "bert", head="BertForMaskedLM")
    name = f"hf/{tmp_path}"
    assert models.configuration_of(name).architecture == "BertForSequenceClassification"
    network, fresh = models.with_weights(name, name, classes=2, input_shape=(12, 64))
    assert fresh
    assert torch.equal(network.bert.embeddings.word_embeddings.weight, own.bert.embeddings.word_embeddings.weight)
    with pytest.raises(dnal.UserError, match="fewer than 65"):
        models.create(name, classes=2, input_shape=(12, 65))


@pytest.mark.parametrize(("classes", "fresh"), [(10, False), (3, True)])
def test_a_head_for_other_classes_is_fresh(classes: int, fresh: bool, tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    name = f"hf/{tmp_path}"
    assert models.with_weights(name, name, classes=classes, input_shape=(1, 8, 8))[1] is fresh


def test_no_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, "vit")
    monkeypatch.chdir(tmp_path)
    assert models.create("hf/.") is not None
    with pytest.raises(dnal.UserError, match="there is no folder ''"):
        models.create("hf/")


def test_weights_in_several_files(tmp_path: Path) -> None:
    own = saved(tmp_path / "one", "vit")
    own.save_pretrained(tmp_path / "several", max_shard_size="8KB")
    assert len(list((tmp_path / "several").glob("*.safetensors"))) > 1
    network = models.create(f"hf/{tmp_path / 'several'}", pretrained=True)
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), own.state_dict().values(), strict=True))


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "code": ({"auto_map": {"AutoModel": "mine.Net"}}, "code of its own (auto_map), and dnal runs none"),
    "nested code": ({"vision_config": {"auto_map": {"AutoModel": "x.Y"}}}, "(auto_map), and dnal runs none"),
    "quantized": ({"quantization_config": {"bits": 4}}, "weights are quantized"),
    "another network": ({"backbone": "resnet50"}, "built on another network (backbone)"),
    "an absurd width": ({"hidden_size": 10**12}, "no network is of such a size"),
    "a large network": ({"hidden_size": 2**17, "num_hidden_layers": 1}, "may ask for; make it smaller"),
    "many layers": ({"num_hidden_layers": 10**6}, "asks for more than 8,192 modules"),
    "no layers": ({"num_hidden_layers": 0}, "has 0 layers"),
    "layers below none": ({"num_hidden_layers": -1}, "has -1 layers"),
    "no family": ({"model_type": None}, "has no model_type"),
    "an unknown family": ({"model_type": "nosuch"}, "that dnal does not learn"),
    "another task": ({"architectures": ["ViTForSomething"]}, "that dnal does not learn (ViTForSomething)"),
    "timm": ({"model_type": "timm_wrapper"}, "give it as timm/NAME"),
    "a wrong type": ({"hidden_size": "wide"}, "mend config.json"),
    "an unknown activation": ({"hidden_act": "nosuch"}, "mend config.json"),
    "heads that do not fit": ({"num_attention_heads": 0}, "mend config.json"),
    "a negative width": ({"intermediate_size": -3}, "mend config.json"),
    "many values": ({"more": [[0]] * 9000}, "holds more than the configuration of a network"),
    "no classes": ({"id2label": None, "num_labels": -1}, "no number of classes"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_hostile_configurations_are_refused_in_a_sentence(case: str, tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    values, sentence = CONFIGS[case]
    changed(tmp_path, **values)
    with pytest.raises(dnal.UserError) as refused:
        models.create(f"hf/{tmp_path}", classes=10, input_shape=(1, 8, 8))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("family", "values", "sentence"),
    [
        ("vit", {"image_size": [8, 8, 8]}, r"are no channels, height and width \(1, 8, 8, 8\)"),
        ("vit", {"image_size": [8]}, r"\(1, 8\)"),
        ("vit", {"image_size": -8}, r"\(1, -8, -8\)"),
        ("vit", {"image_size": 0}, r"\(1, 0, 0\)"),
        ("vit", {"num_channels": 0}, r"\(0, 8, 8\)"),
        ("bert", {"vocab_size": 0}, "BertForSequenceClassification has no number of tokens"),
    ],
)
def test_sizes_that_a_configuration_does_not_say(
    family: str, values: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    saved(tmp_path, family)
    changed(tmp_path, **values)
    with pytest.raises(dnal.UserError, match=sentence):
        models.default_input(f"hf/{tmp_path}")


def test_sizes_of_images_within_another_configuration(tmp_path: Path) -> None:
    config = {"architectures": ["CLIPForImageClassification"], "model_type": "clip"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "vision_config": {"image_size": 8, "patch_size": 4}}))
    assert models.default_input(f"hf/{tmp_path}") == (3, 8, 8)


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in tensors if "layer.1" in name and name.endswith("weight")))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def of_other_shapes(folder: Path) -> None:
    changed(folder, intermediate_size=20)


def with_more_layers(folder: Path) -> None:
    changed(folder, num_hidden_layers=1)


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def absent(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "other.safetensors")
    index = {"metadata": {}, "weight_map": {"classifier.bias": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def much_larger(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "more": torch.zeros(2**25)}, folder / "model.safetensors")


def a_pipe(folder: Path) -> None:
    import os

    absent(folder)
    os.mkfifo(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncated, "no whole file of safetensors"), (without_a_tensor, "they lack tensor"),
        (of_other_shapes, "are of another network: tensor"), (with_more_layers, "which the network of config.json"),
        (pickled, "pickled weights only"), (absent, "has no model.safetensors"),
        (outside, "which is no file of this folder"), (much_larger, "they are another network's"),
        (a_pipe, "is no ordinary file"),
    ],
)  # fmt: skip
def test_damaged_weights_are_refused_in_a_sentence(damage, sentence: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    saved(folder, "vit")
    damage(folder)
    with pytest.raises(dnal.UserError) as refused:
        models.create(f"hf/{folder}", pretrained=True)
    assert sentence in str(refused.value)


def test_what_is_no_folder_and_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # from elsewhere ../../etc may be a folder
    for name, sentence in (
        (f"hf/{tmp_path / 'nowhere'}", "there is no folder"),
        (f"hf/{tmp_path}", "has no config.json"),
        ("hf/{nothing", "it is no JSON"),
        ('hf/{"model_type":"vit","auto_map":{"A":"b"}}', "dnal runs none"),
        ("hf/../../etc", "there is no folder"),
    ):
        with pytest.raises(dnal.UserError, match=sentence):
            models.create(name)
    (tmp_path / "config.json").write_bytes(b"\xff{}")
    with pytest.raises(dnal.UserError, match="no text in UTF-8"):
        models.create(f"hf/{tmp_path}")


def test_a_name_on_the_hub_is_what_is_kept_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's own order of files on the disk; no other machine is asked."""
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(transformers.utils.hub, "TRANSFORMERS_CACHE", str(tmp_path), raising=False)
    commit = "0" * 40
    kept = tmp_path / "models--people--tiny"
    own = saved(kept / "snapshots" / commit, "vit")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    with kept_only():
        network = models.create("hf/people/tiny", pretrained=True)
        assert torch.equal(network.classifier.weight, own.classifier.weight)
        with pytest.raises(dnal.UserError, match="could not be had"):
            models.create("hf/people/other")


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path, "vit")
    capfd.readouterr()
    models.create(f"hf/{tmp_path}", classes=3, pretrained=True)
    assert capfd.readouterr() == ("", "")


def test_a_network_is_learnt_exactly(tmp_path: Path) -> None:
    """Compact equals hard gated."""
    from independent import assert_exact, coin_flips, randomise

    saved(tmp_path, "deit")
    network = randomise(models.create(f"hf/{tmp_path}")).eval()
    inputs = torch.randn(2, 1, 8, 8)
    space = dnal.Space.of(network, inputs)
    assert_exact(network, inputs, space, coin_flips(space, 0))
    assert network_of("deit").num_labels == 10
