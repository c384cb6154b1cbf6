"""What does it cost to train a zoo, and to learn from one?

Two zoos of 100 networks by the default recipe, of convolutions and of linear layers, on the digits: networks a minute
of CPU, from reading the data to the last file. Then 5 epochs of each predictor on 64 of the convolutional ones: CPU
seconds a step of 32 networks. CPU seconds and not the clock's, in one process with one thread.

OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/zoo.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from dnal.predictors import PREDICTORS
from dnal.predictors.zoo.folder import make_zoo, read_zoo
from dnal.predictors.zoo.recipe import Recipe
from paired import machine
from result_file import append_rows

FIELDS = ("what", "number", "cpu_seconds", "unit", "value", "machine")
NETWORKS, LEARNT, EPOCHS = 100, 64, 5
MODELS = ("neural-graph", "neural-graph:network=graph", "sne", "sne:invariance=0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()

    def tell(what: str, number: int, seconds: float, unit: str, value: float) -> None:
        row = {"what": what, "number": number, "cpu_seconds": round(seconds, 2), "unit": unit, "value": round(value, 3),
               "machine": machine()}  # fmt: skip
        append_rows(options.out, FIELDS, [row])
        print(row, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for kind in ("mlp", "cnn"):
            begun = time.process_time()
            make_zoo(Path(folder) / kind, "digits", Recipe(networks=NETWORKS, kind=kind))
            seconds = time.process_time() - begun
            tell(f"zoo, {kind}", NETWORKS, seconds, "networks a minute", 60 * NETWORKS / seconds)
        zoo = read_zoo(Path(folder) / "cnn")
    networks, values = zoo.networks[:LEARNT], zoo.accuracy[:LEARNT]
    for name in MODELS:
        begun = time.process_time()
        model = PREDICTORS.read(name).set_params(epochs=EPOCHS).fit(networks, values)
        seconds = time.process_time() - begun
        steps = EPOCHS * (LEARNT // model.batch)
        tell(name, steps, seconds, "seconds a step", seconds / steps)


if __name__ == "__main__":
    main()
