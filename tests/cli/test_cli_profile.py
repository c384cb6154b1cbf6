"""`dnal profile`."""

from __future__ import annotations

import json

import pytest

from cli_program import Program

pytestmark = pytest.mark.usefixtures("own_cache")

ASKED = ("profile", "--model", "cifar/resnet20", "--input", "3,8,8", "--architectures", "2")


@pytest.mark.slow
def test_layers_and_architectures_as_text_and_json(dnal: Program) -> None:
    answer = dnal(*ASKED)
    assert answer.status == 0, answer.err
    for word in ("torch-cpu", "convolution", "measured ms", "rank correlation", "line through the MACs"):
        assert word in answer.out
    answer = dnal(*ASKED, "--batch", "2", "--json")
    found = json.loads(answer.out)
    assert found["batch"] == 2
    assert len(found["architectures"]) == 2
    times = [layer["ms"] for layer in found["layers"]]
    assert times == sorted(times, reverse=True)
    assert sum(times) == pytest.approx(found["predicted_ms"])


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--backend", "onnx", "unknown backend 'onnx'"),
        ("--batch", "0", "--batch is 1 or more"),
        ("--architectures", "1", "--architectures is 2 or more"),
        ("--divisor", "0", "--divisor is 1 or more"),
    ],
)
def test_bad_options_are_refused(dnal: Program, option: str, value: str, told: str) -> None:
    answer = dnal("profile", option, value)
    assert answer.status == 2
    assert told in answer.err
