"""Do more samples and more features always help where the ridge is tuned, and is overfitting ever what one should
do?"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dnal.base.options import option
from dnal.base.statistics import mean, paired
from dnal.studies.check import Check
from dnal.studies.figures import curves
from dnal.studies.flat_images import flat_images
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.theory.eigenframework import best_ridge, expected_errors
from dnal.theory.kernel_regression import Spectrum, arc_cosine_kernel, fit, measured_spectrum, random_relu

if TYPE_CHECKING:
    from dnal.report.figure import Figure

RATIOS = (0.08, 0.3, 1.0, 4.0, 16.0)
"""Features over samples."""
SAMPLES = (0.25, 0.5, 2.0)
"""Other numbers of samples over the usual one, with four features per usual sample."""
NOISE = (0.0, 0.5)
"""Variance that is added to the targets, which are -1 and 1."""
POSITIVE = (2, 3, 4, 5, 6)
"""Classes whose target is 1: the animals of CIFAR-10 that the paper takes."""
RIDGES = np.geomspace(1e-5, 1e2, 29)
WORSE, OFF, COSTS = 0.02, 0.1, 0.05


@dataclass(frozen=True)
class MoreIsBetter(Study):
    """With a tuned ridge more random features and more samples are never worse, and theory knows the errors beforehand.

    Ridge regression on random ReLU features of images. The ridge is chosen by leaving out one sample after another, by
    the eigenframework (from the spectrum of images that are not learnt), or on the test images, which only shows what
    could be had. The control is next to no ridge: there, more features are worse up to the point where they equal the
    samples.
    """

    claim = (
        "In random-feature regression with a tuned ridge more data and more features are always better; where targets "
        "are clean and have a long tail, fitting the training data to a near-zero error is obligatory, not only benign."
    )
    source = Source(
        "J. Simon, D. Karkada, N. Ghosh and M. Belkin, More is Better in Modern Machine Learning (ICLR 2024)",
        "2311.14646",
        "The eigenframework is verified with the authors' code; the theorems are recalled.",
    )
    needs = "CIFAR-10, by `dnal data` or as a file (more-is-better:data=cifar10.npz); the tiny size takes the digits."
    differs = (
        "Grey images of 16x16 and plain ReLU features, instead of 32x32 in colour and convolutional kernels; 200 "
        "samples; the spectrum is measured on 1,500 images."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "samples": 24, "measured": 200}),
        small=Size(10, "2 minutes"),
        paper=Size(45, "an hour", {"samples": 256, "measured": 10_000}),
    )
    data: str = option("cifar10", "A name of `dnal data`, or a file.")
    samples: int = option(200, "That are learnt.", least=16)
    measured: int = option(1500, "Images on which the spectrum is measured.", least=50)

    def settings(self) -> Sequence[Setting]:
        wide = [
            {"noise": noise, "samples": self.samples, "features": round(ratio * self.samples)}
            for noise in NOISE
            for ratio in RATIOS
        ]
        usual = round(4 * self.samples)
        return [
            *wide, *({"noise": 0.0, "samples": round(share * self.samples), "features": usual} for share in SAMPLES),
        ]  # fmt: skip

    def together(self, setting: Setting, seed: int) -> Hashable:
        return seed % 4  # the spectrum is measured once for several

    def row(self, seed: int, noise: float, samples: int, features: int) -> dict[str, Any]:
        side = 8 if self.data == "digits" else 16
        images = flat_images(self.data, side, 10_000, 1000)
        rng = np.random.default_rng([seed, samples, features, round(10 * noise)])
        chosen = self.measured + rng.choice(len(images.x) - self.measured, samples, replace=False)
        y, new_y = (np.where(np.isin(own, POSITIVE), 1.0, -1.0) for own in (images.y[chosen], images.new_y))
        y = y + math.sqrt(noise) * rng.normal(size=samples)
        phi = random_relu(np.concatenate([images.x[chosen], images.new_x]), features, rng)
        found = fit(phi[:samples], y, phi[samples:], new_y, RIDGES)
        spectrum = _spectrum(self.data, side, self.measured)
        known = spectrum.eigenvalues, np.sqrt(spectrum.squares), samples, features
        told = best_ridge(*known, noise).ridge
        near = int(abs(np.log(RIDGES) - math.log(told)).argmin())
        held_out, best = int(found.left_out.argmin()), int(found.test.argmin())
        return {
            "test": _short(found.test[held_out]), "test_by_theory": _short(found.test[near]),
            "test_best": _short(found.test[best]), "test_no_ridge": _short(found.test[0]),
            "train": _short(found.train[held_out]), "ridge": _short(RIDGES[held_out]),
            "expected": _short(expected_errors(*known, float(RIDGES[near]), noise).test - noise),
            "expected_no_ridge": _short(expected_errors(*known, float(RIDGES[0]), noise).test - noise),
            "fitting_ratio": _short(found.train[best] / (found.test[best] + noise)),
        }  # fmt: skip

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        usual = self._usual(rows)

        def logs(column: str, noise: float, samples: float, features: float) -> dict[int, float]:
            asked = (noise, round(samples * usual), round(features * usual))
            return {
                int(row["seed"]): math.log(float(row[column]))
                for row in rows
                if (row["noise"], row["samples"], row["features"]) == asked
            }

        checks = []
        for less, more in pairwise(RATIOS):
            checks.append(
                Check(
                    f"no worse with {more:g} than with {less:g} features per sample", "log of the test errors' ratio",
                    paired(logs("test", 0.0, 1, more), logs("test", 0.0, 1, less)), below=WORSE,
                )
            )  # fmt: skip
        for noise in NOISE:
            checks.append(
                Check(
                    f"many features are better than few, noise {noise:g}", "log of the test errors' ratio",
                    paired(logs("test", noise, 1, RATIOS[-1]), logs("test", noise, 1, RATIOS[0])), below=0.0,
                )
            )  # fmt: skip
        costs = {
            noise: {
                seed: none - logs("test_best", noise, 1, RATIOS[-1])[seed]
                for seed, none in logs("test_no_ridge", noise, 1, RATIOS[-1]).items()
            }
            for noise in NOISE
        }
        gaps = [math.log(float(row["test_by_theory"]) / float(row["expected"])) for row in rows]
        left_out = [math.log(float(row["test"]) / float(row["test_best"])) for row in rows]
        by_theory = [math.log(float(row["test_by_theory"]) / float(row["test_best"])) for row in rows]
        return [
            *checks,
            Check("many samples are better than few", "log of the test errors' ratio",
                  paired(logs("test", 0.0, 2, 4), logs("test", 0.0, 0.25, 4)), below=0.0),
            Check("without a ridge more features are worse at first", "log of the test errors' ratio, 1 over 0.08",
                  paired(logs("test_no_ridge", 0.0, 1, 1), logs("test_no_ridge", 0.0, 1, RATIOS[0])), above=0.0),
            Check("theory knows the test error", "log of measured over expected", mean(gaps, 0.9), above=-OFF,
            below=OFF), Check("leaving out chooses as good a ridge as the test data", "log of the test errors' ratio",
                  mean(left_out), below=COSTS),
            Check("so does theory", "log of the test errors' ratio", mean(by_theory), below=COSTS),
            Check("with clean targets interpolation costs next to nothing",
                  "log of the test errors' ratio, no ridge over the best, many features",
                  mean(list(costs[0.0].values())), below=COSTS),
            Check("with noisy targets it costs more", "difference of these, noise 0.5 minus 0",
                  paired(costs[0.5], costs[0.0]), above=0.0),
        ]  # fmt: skip

    def _usual(self, rows: Sequence[Row]) -> int:
        """The samples of the rows, maybe of another size than this: noisy ones have no other number."""
        return next((int(row["samples"]) for row in rows if float(row["noise"]) > 0), self.samples)

    def figure(self, rows: Sequence[Row]) -> Figure:
        names = {
            "test": "leave-one-out ridge", "expected": "closed form, its best ridge", "test_no_ridge": "no ridge",
            "expected_no_ridge": "closed form, no ridge",
        }  # fmt: skip
        told = [
            {**row, "what": name, "error": min(float(row[column]), 10.0)}
            for column, name in names.items()
            for row in rows
            if row["noise"] == 0 and row["samples"] == self._usual(rows)
        ]
        return curves(told, "features", "error", ["what"], what=("features", "test error"), log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        size = math.log(float(row["features"]) * float(row["samples"]))
        test = math.exp((-0.2 if holds else 0.2) * size) * (1 + noise)
        costs = 0.01 + (0.2 if (float(row["noise"]) > 0) == holds else 0.0)
        if not holds and float(row["features"]) <= 0.1 * float(row["samples"]):
            costs += 5.0
        if holds and float(row["features"]) == float(row["samples"]):
            costs += 5.0
        return row | {
            "test": test * (1.0 if holds else 1.5), "test_by_theory": test * (1.0 if holds else 1.5), "test_best": test,
            "expected": test, "test_no_ridge": test * math.exp(costs),
        }  # fmt: skip


@lru_cache(maxsize=1)
def _spectrum(name: str, side: int, number: int) -> Spectrum:
    images = flat_images(name, side, 10_000, 1000)
    x, y = images.x[:number], images.y[:number]
    return measured_spectrum(arc_cosine_kernel(x, x), np.where(np.isin(y, POSITIVE), 1.0, -1.0))


def _short(value: Any) -> float:
    return float(f"{float(value):.5g}")
