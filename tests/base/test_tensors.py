"""Files of tensors, written one by one: to the byte what safetensors writes, and in bounded memory."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from dnal.base.tensors import DTYPES, stream

SIZE = 64 * 2**20
WRITES = """
import os, sys
from pathlib import Path
import torch
from dnal.train.resume.checkpoint import Checkpoints

size, count, kind = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
side = int((size / 4) ** 0.5)
tensors = {str(n): torch.ones(side, side) for n in range(count)}
if kind == "transposed":
    tensors = {name: tensor.T for name, tensor in tensors.items()}
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.save({"w": torch.ones(3)})
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
checkpoints.save(tensors)
peak = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
print(1024 * peak - before)
"""


def written(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    file = io.BytesIO()
    stream(file, tensors, metadata)
    return file.getvalue()


def of_all_types() -> dict[str, Tensor]:
    torch.manual_seed(0)
    found = {}
    for number, (name, dtype) in enumerate(DTYPES):
        if name != "C64":  # older ones of safetensors do not know it
            whole = torch.randint(0, 2, (number, 3) if number % 3 else (), dtype=torch.int64)
            found[f"{(7 * number) % 16}.{name}"] = whole.to(dtype)
    return found


@pytest.mark.parametrize("metadata", [None, {"change": 'a "quoted" \\ text, é and \n\t\x01'}])
def test_a_file_is_the_one_of_safetensors_to_the_byte(metadata: dict[str, str] | None) -> None:
    tensors = of_all_types() | {"é": torch.ones(2), "10": torch.zeros(0, 4), "9": torch.ones(1, 5)}
    assert written(tensors, metadata) == save(tensors, metadata)
    assert written({}, metadata) == save({}, metadata)


def test_tensors_that_share_memory_or_lie_otherwise_are_written_as_they_read() -> None:
    whole = torch.arange(24.0).view(2, 3, 4)
    tensors = {
        "a": whole, "b": whole, "c": whole[1], "d": whole.permute(2, 0, 1), "e": whole[:, ::2],
        "f": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last), "g": torch.nn.Parameter(whole[0]),
    }  # fmt: skip
    back = load(written(tensors))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_the_checksum_is_that_of_all_tensors_by_name_and_joins_the_metadata(tmp_path: Path) -> None:
    tensors, text = of_all_types(), '"sha256":"in the state too'
    file = io.BytesIO()
    stream(file, tensors, {"state": text}, hashlib.sha256(text.encode()))
    expected = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        expected.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        expected.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    size = int.from_bytes(file.getvalue()[:8], "little")
    assert expected.hexdigest().encode() in file.getvalue()[8 : 8 + size]
    back = load(file.getvalue())
    assert written({name: back[name] for name in tensors}) == written(tensors)


def test_a_type_that_no_file_can_hold_is_told() -> None:
    with pytest.raises(TypeError, match=r"'w' is of torch\.complex128"):
        written({"w": torch.zeros(2, dtype=torch.complex128)})


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is asked of Linux")
@pytest.mark.parametrize("kind", ["plain", "transposed"])
def test_a_checkpoint_is_written_in_the_memory_of_one_tensor(kind: str, tmp_path: Path) -> None:
    """256 MB in four tensors; a transposed one is put into the plain order before it is written."""
    command = [sys.executable, "-c", WRITES, str(tmp_path), str(SIZE), "4", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) <= (SIZE if kind == "transposed" else 0) + 16 * 2**20
