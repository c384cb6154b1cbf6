"""What surrounds a network while it is analysed."""

from __future__ import annotations

import torch

from dnal.space.surgery.running import comparable


def tf32() -> list[str]:
    backends = torch.backends
    return [backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision]


def test_tf32_is_off_and_comes_back() -> None:
    if not hasattr(torch.backends.cudnn, "conv"):  # before PyTorch 2.9
        assert torch.backends.cudnn.allow_tf32
        with comparable(torch.zeros(1)):
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32
        return
    before = tf32()
    with comparable(torch.zeros(1)):
        assert tf32() == ["ieee", "ieee"]
    assert tf32() == before
    torch.set_float32_matmul_precision("high")
    try:
        with comparable(torch.zeros(1)):
            assert tf32() == ["ieee", "ieee"]
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
