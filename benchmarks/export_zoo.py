"""Does a compact network of every family leave as ONNX and as a torch.export program, and compute the same there?

One network per family, random weights and random statistics, half of every group of channels closed at random. Each
network runs in a process of its own with one thread. `difference` is the largest difference between the file and the
compact network in PyTorch, relative to the largest output, at the batch in its heading. Where the compact network
cannot be exported, `original` says whether the network itself can. A row that stands in the result file is not
measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from result_file import append_rows, read_rows

NETWORKS = {  # name: input pixels
    "torchvision/resnet18": 96,
    "torchvision/vgg11_bn": 96,
    "torchvision/mobilenet_v2": 96,
    "torchvision/mobilenet_v3_small": 96,
    "torchvision/efficientnet_b0": 96,
    "torchvision/shufflenet_v2_x0_5": 96,
    "torchvision/regnet_y_400mf": 96,
    "torchvision/squeezenet1_0": 96,
    "torchvision/googlenet": 96,
    "torchvision/convnext_tiny": 96,
    "torchvision/densenet121": 96,
    "timm/vit_tiny_patch16_224": 224,
    "timm/mixer_s32_224": 224,
    "torchvision/vit_b_32": 96,
    "torchvision/swin_t": 96,
    "timm/resnest14d": 96,
    "torchvision/inception_v3": 128,
    "timm/ghostnet_100": 96,
    "timm/mobilevit_xxs": 128,
    "timm/poolformer_s12": 96,
    "timm/skresnet18": 96,
    "timm/nfnet_l0": 96,
    "torchvision/resnext50_32x4d": 96,
    "timm/res2net50_14w_8s": 96,
    "timm/hrnet_w18_small": 96,
}
FORMATS = ("onnx", "pt2")
FIELDS = (
    "network", "pixels", "format", "status", "difference at 1", "difference at 3", "difference at 8", "params",
    "params_share", "bytes", "seconds", "original", "reason", "versions",
)  # fmt: skip


def measured(name: str, pixels: int, formats: list[str]) -> list[dict[str, Any]]:
    """A row per format."""
    import torch

    import dnal
    from coverage_exact import randomise

    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    network = randomise(dnal.models.create(name, input_shape=(3, pixels, pixels)).eval())
    images = torch.randn(1, 3, pixels, pixels)
    space = dnal.Space.of(network, images)
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5)).eval()
    params = sum(p.numel() for p in small.parameters())
    common = {
        "network": name,
        "pixels": pixels,
        "params": params,
        "params_share": f"{params / space.full_cost['params']:.4f}",
        "versions": versions(),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for to in formats:
            path = Path(folder) / f"network.{to}"
            begun = time.perf_counter()
            try:
                found = dnal.export.export(small, images, path, to)
            except dnal.UserError as error:
                row = {"status": "refused", "reason": str(error), "original": _original(network, images, path, to)}
            else:
                row = {f"difference at {batch}": f"{value:.1e}" for batch, value in found.differences.items()}
                row |= {"status": "equal", "bytes": path.stat().st_size}
            rows.append({**common, **row, "format": to, "seconds": f"{time.perf_counter() - begun:.1f}"})
    return rows


def _original(network: Any, images: Any, path: Path, to: str) -> str:
    import dnal

    try:
        dnal.export.export(network, images, path, to)
    except dnal.UserError:
        return "refused too"
    return "equal"


def versions() -> str:
    from importlib.metadata import version

    return " ".join(f"{name} {version(name)}" for name in ("torch", "onnx", "onnxscript", "onnxruntime"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--seconds", type=int, default=600, help="limit for each network")
    options = parser.parse_args()
    done = {(row["network"], row["format"]) for row in read_rows(options.out)}
    for name in options.networks:
        formats = [to for to in options.formats if (name, to) not in done]
        if formats:
            rows = of_process(name, NETWORKS.get(name, 224), formats, options.seconds)
            for row in rows:
                print(*(row.get(field, "") for field in FIELDS[:7]), row.get("reason", ""), flush=True)
            append_rows(options.out, FIELDS, rows)


def of_process(name: str, pixels: int, formats: list[str], seconds: int) -> list[dict[str, Any]]:
    """The rows, from a process of its own: its memory goes with it."""
    code = f"import json, export_zoo as e; print(json.dumps(e.measured({name!r}, {pixels}, {formats!r})))"
    try:
        process = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if process.returncode == 0:
            return list(json.loads(process.stdout.splitlines()[-1]))
        reason = (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1][:200]
    except subprocess.TimeoutExpired:
        reason = f"longer than {seconds} s"
    return [{"network": name, "pixels": pixels, "format": to, "status": "crash", "reason": reason} for to in formats]


if __name__ == "__main__":
    main()
