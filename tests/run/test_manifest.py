"""manifest.json: says what the files were, and names what is not as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dnal.base.errors import UserError
from dnal.run.files import ARCHITECTURE, CONFIG, MANIFEST, MODEL, RESULT
from dnal.run.manifest import manifest_of, read_manifest, verify

READ = (CONFIG, ARCHITECTURE, MODEL)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_it_holds_size_and_sha256_of_every_file_that_loading_reads(finished: Path) -> None:
    found = json.loads((finished / MANIFEST).read_text())["files"]
    assert set(found) == set(READ)
    for name in READ:
        data = (finished / name).read_bytes()
        assert found[name]["size"] == len(data)
        assert found[name]["sha256"] == hashlib.sha256(data).hexdigest()
    tensors = load_file(finished / MODEL)
    assert found[MODEL]["tensors"] == {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in tensors.items()
    }


def test_equal_files_give_equal_bytes_wherever_they_are(finished: Path, run: Path) -> None:
    assert manifest_of(run) == (finished / MANIFEST).read_text()
    assert str(run) not in manifest_of(run)


def test_tensors_of_every_type_have_a_digest(run: Path) -> None:
    tensors = {
        "half": torch.rand(3, 2).half(),
        "brain": torch.rand(2).bfloat16(),
        "scalar": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "nothing": torch.zeros(0, 4),
    }
    save_file(tensors, run / MODEL)
    found = json.loads(manifest_of(run))["files"][MODEL]["tensors"]
    raw = {name: bytes(tensor.flatten().view(torch.uint8).tolist()) for name, tensor in tensors.items()}
    assert found == {name: hashlib.sha256(data).hexdigest() for name, data in raw.items()}


def test_the_first_tensor_that_differs_is_named(run: Path) -> None:
    tensors = load_file(run / MODEL)
    names = sorted(tensors)
    for damaged, expected in (
        ({**tensors, names[3]: tensors[names[3]] + 1, names[5]: tensors[names[5]] + 1}, f"'{names[3]}' has other"),
        ({name: tensor for name, tensor in tensors.items() if name != names[4]}, f"no tensor '{names[4]}'"),
        ({name: tensor for name, tensor in tensors.items() if name != names[-1]}, f"no tensor '{names[-1]}'"),
        ({**tensors, "zz": torch.zeros(1)}, "has a tensor 'zz'"),
    ):
        save_file(damaged, run / MODEL)
        with pytest.raises(UserError, match=expected):
            verify(run)


def test_a_bit_within_a_tensor_is_traced_to_it(run: Path) -> None:
    data = bytearray((run / MODEL).read_bytes())
    data[-1] ^= 1
    (run / MODEL).write_bytes(data)
    with pytest.raises(UserError, match=r"tensor '.*' has other values"):
        verify(run)


@pytest.mark.parametrize("name", [CONFIG, ARCHITECTURE, MODEL, MANIFEST])
def test_every_single_byte_counts(run: Path, name: str) -> None:
    whole = (run / name).read_bytes()
    for offset in {0, 1, 7, 8, len(whole) // 3, len(whole) // 2, len(whole) - 2, len(whole) - 1}:
        for bit in (1, 32):
            data = bytearray(whole)
            data[offset] ^= bit
            (run / name).write_bytes(data)
            with pytest.raises(UserError, match=name.replace(".", r"\.")):
                verify(run)
    (run / name).write_bytes(whole)
    verify(run)


def test_every_digit_of_a_tensors_digest_counts(run: Path) -> None:
    text = (run / MANIFEST).read_text()
    digest = next(iter(json.loads(text)["files"][MODEL]["tensors"].values()))
    other = ("0" if digest[0] != "0" else "1") + digest[1:]
    (run / MANIFEST).write_text(text.replace(digest, other, 1))
    with pytest.raises(UserError, match="not as the run wrote it"):
        read_manifest(run)


def test_other_files_are_nobodys_business(run: Path) -> None:
    (run / RESULT).unlink()
    (run / "log.jsonl").write_bytes(b"\0")
    verify(run)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', "[" * 10**5, "9" * 10**5, '{"format": NaN}', "\udcff\x00", "null"]
)
def test_what_is_no_manifest_is_refused(run: Path, text: str) -> None:
    (run / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"manifest\.json' is not"):
        verify(run)
