"""When does training too long hurt, and for which size of network?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dnal.base.options import option
from dnal.base.statistics import Interval, mean, paired
from dnal.studies.check import Check
from dnal.studies.flat_images import flat_images
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study
from dnal.theory import linear_dynamics
from dnal.theory.gradient_flow import draw, weights_over_time
from dnal.theory.relu_student import train_student

if TYPE_CHECKING:
    from dnal.report.figure import Figure

Array = NDArray[np.float64]

LINEAR = (0.25, 0.5, 1.0, 2.0, 4.0)
FEATURES = (0.125, 0.5, 1.0, 2.0, 16.0)
NETWORK = (0.125, 0.5, 1.0, 4.0, 16.0)
"""Parameters over samples."""
SNR, LAST = 5.0, 1000.0
"""Of the linear teacher, and the time at which its students end."""
STEPS = 100_000
"""After which the readout of random features ends, at the largest stable rate."""
SIDE, COMPONENTS = 14, 10
"""Of the images; of the principal components that the trained network sees."""
SMALL, CLOSE = 0.2, 0.1


@dataclass(frozen=True)
class OvertrainingPeaksAtTheThreshold(Study):
    """Training too long costs most where parameters meet samples, and little in wide networks that start small.

    Three students of noisy targets: linear ones of a linear teacher, whose errors over time are known in closed form;
    the readout of random ReLU features of images; and two-layer ReLU networks, all of which is trained. Overtraining is
    the test error at the end over the least one on the way, minus 1. The least one is found on the test data, for every
    student alike, and so is the best ridge, the control: what is compared is what stopping could save.
    """

    claim = (
        "Overtraining is worst at an intermediate size, where the effective number of free parameters equals that of "
        "the samples; it is less in smaller and in larger networks, and large initial weights hurt the larger ones."
    )
    source = Source(
        "M. Advani and A. Saxe, High-dimensional dynamics of generalization error in neural networks (2017)",
        "1710.03667",
        "The formulas were derived again and agree with simulations; the paper's own settings are recalled.",
    )
    needs = (
        "MNIST as an .npz of x_train, y_train, x_test, y_test (overtraining:data=mnist.npz), or a set of "
        "`dnal data`; the tiny size takes scikit-learn's digits."
    )
    differs = (
        "Images of 14x14, odd against even classes as -1 and 1, a fifth of the training labels flipped; 200 images. "
        "The trained network sees ten principal components of 66 of them: so it can have fewer parameters than images."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {"data": "digits", "samples": 40, "steps": 200}),
        small=Size(10, "3 minutes"),
        paper=Size(50, "an hour", {"samples": 300, "steps": 400_000}),
    )
    data: str = option("fashion-mnist", "A name of `dnal data`, or a file.")
    samples: int = option(200, "That are trained on.", least=20)
    steps: int = option(40_000, "Of gradient descent of the trained network.", least=10)

    def settings(self) -> Sequence[Setting]:
        linear: list[Setting] = [{"student": "linear", "start": 0, "ratio": ratio} for ratio in LINEAR]
        large: list[Setting] = [{"student": "linear", "start": 1, "ratio": ratio} for ratio in (0.25, 4.0)]
        features: list[Setting] = [{"student": "random features", "start": 0, "ratio": ratio} for ratio in FEATURES]
        network: list[Setting] = [{"student": "network", "start": 0, "ratio": ratio} for ratio in NETWORK]
        return [*linear, *large, *features, *network]

    def row(self, seed: int, student: str, start: int, ratio: float) -> dict[str, Any]:
        if student == "linear":
            return self._linear(seed, start, ratio)
        x, y, new_x, new_y = self._images(seed, self.samples if student == "random features" else self.samples // 3)
        if student == "random features":
            return _features(x, y, new_x, new_y, round(ratio * len(x)), seed)
        _, _, axes = np.linalg.svd(x - x.mean(0), full_matrices=False)
        axes = axes[: min(COMPONENTS, len(axes))]
        scale = ((x - x.mean(0)) @ axes.T).std()
        seen, new = ((own - x.mean(0)) @ axes.T / scale for own in (x, new_x))
        hidden = max(1, round(ratio * len(x) / (COMPONENTS + 2)))
        asked = sorted({0, *np.geomspace(1, self.steps, 60).astype(int).tolist()})
        course = train_student(seen, y, new, new_y, hidden, asked, seed=seed)
        return {"parameters": hidden * (COMPONENTS + 2), **_told(course.test), "train": _short(course.train[-1])}

    def _linear(self, seed: int, start: int, ratio: float) -> dict[str, Any]:
        weights, alpha = round(ratio * self.samples), 1 / ratio
        drawn = draw(weights, self.samples, SNR, start, np.random.default_rng([seed, weights, start]))
        times = np.geomspace(0.01, LAST, 80)
        found = weights_over_time(drawn.inputs, drawn.targets, times, drawn.start)
        errors = ((found - drawn.teacher) ** 2).mean(1) + drawn.noise
        held = drawn.inputs.T @ drawn.inputs + np.eye(weights) / SNR
        ridge = np.linalg.solve(held, drawn.inputs.T @ drawn.targets)
        expected = linear_dynamics.test_error(times, alpha, SNR, start)
        return {
            "parameters": weights, **_told(errors),
            "ridge": _short(((ridge - drawn.teacher) ** 2).mean() + drawn.noise),
            "theory_least": _short(expected.min()), "theory_last": _short(expected[-1]),
        }  # fmt: skip

    def _images(self, seed: int, number: int) -> tuple[Array, Array, Array, Array]:
        side = 8 if self.data == "digits" else SIDE
        images = flat_images(self.data, side, 10_000, 1000)
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(images.x), number, replace=False)
        sign = np.where(images.y[chosen] % 2 == 0, 1.0, -1.0)
        flipped = np.where(rng.random(number) < 0.2, -sign, sign)
        return images.x[chosen], flipped, images.new_x, np.where(images.new_y % 2 == 0, 1.0, -1.0)

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        checks = []
        for student, ratios in (("linear", LINEAR), ("random features", FEATURES), ("network", NETWORK)):
            of = {
                ratio: {
                    row["seed"]: math.log1p(float(row["overtraining"]))
                    for row in rows
                    if (row["student"], row["ratio"], row["start"]) == (student, ratio, 0)
                }
                for ratio in ratios
            }
            checks += [
                Check(
                    f"{student}: more at the threshold than with {name} parameters",
                    f"log of last over least error, at 1 minus at {other:g} parameters per sample",
                    paired(of[1.0], of[other]), above=0.0,
                )
                for name, other in (("few", ratios[0]), ("many", ratios[-1]))
            ]  # fmt: skip
            checks.append(
                Check(
                    f"{student}: little with many parameters",
                    f"last over least error minus 1, at {ratios[-1]:g} parameters per sample",
                    _back(mean(list(of[ratios[-1]].values()))), below=SMALL,
                )
            )  # fmt: skip
        linear = [row for row in rows if row["student"] == "linear"]
        last = {
            (ratio, start): {
                row["seed"]: float(row["last"]) for row in linear if (row["ratio"], row["start"]) == (ratio, start)
            }
            for ratio in (0.25, 4.0)
            for start in (0, 1)
        }
        gap = [float(row["last"]) / float(row["theory_last"]) - 1 for row in linear if row["ratio"] != 1.0]
        stopped = [float(row["least"]) / float(row["ridge"]) - 1 for row in linear if row["start"] == 0]
        return [
            *checks,
            Check("large first weights hurt a wide student", "last error, start of variance 1 minus 0",
                  paired(last[4.0, 1], last[4.0, 0]), above=0.0),
            Check("and do not hurt a narrow one", "last error, start of variance 1 minus 0",
                  paired(last[0.25, 1], last[0.25, 0], 0.9), above=-CLOSE, below=CLOSE),
            Check("the closed form is met", "simulated over expected last error minus 1, away from the threshold",
                  mean(gap, 0.9), above=-CLOSE, below=CLOSE),
            Check("stopping is as good as the best ridge", "least error over that of the best ridge, minus 1",
                  mean(stopped, 0.9), above=-CLOSE, below=CLOSE),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        from dnal.studies.figures import curves

        of = []
        for row in rows:
            name = f"{row['student']}, large start" if row["start"] else str(row["student"])
            of.append({**row, "what": name, "error": row["overtraining"]})
            if row["student"] == "linear" and row["seed"] == 0:
                least, last = float(row["theory_least"]), float(row["theory_last"])
                of.append({**row, "what": f"closed form, {name}", "error": last / least - 1})
        return curves(of, "ratio", "error", ["what"], what=("parameters per sample", "overtraining"), log=True)

    def imagined(self, row: Row, holds: bool) -> Row:
        noise, ratio = 0.002 * (int(row["seed"]) % 3), float(row["ratio"])
        over = 0.05 + noise + (0.8 + noise if (ratio == 1) == holds else 0.0)
        if not holds and ratio == 1:
            over = 0.01
        if row["student"] != "linear":
            return row | {"overtraining": over, "least": 0.5, "last": 0.5 * (1 + over)}
        hurt = holds if ratio == 4 else not holds
        last = (1.0 + 0.5 * bool(row["start"]) if hurt else 1.0) + noise
        return row | {
            "overtraining": over, "last": last, "theory_last": last * (1.01 if holds else 1.5) - noise,
            "least": 0.5 + noise, "ridge": 0.5 if holds else 0.3,
        }  # fmt: skip


def _features(x: Array, y: Array, new_x: Array, new_y: Array, number: int, seed: int) -> dict[str, Any]:
    """The readout of random ReLU features under gradient flow, to the time of so many steps."""
    rng = np.random.default_rng([seed, number])
    directions = rng.normal(size=(number, x.shape[1])) / math.sqrt(x.shape[1])
    phi, new = (np.maximum(own @ directions.T, 0) / math.sqrt(number) for own in (x, new_x))
    largest = float(np.linalg.norm(phi, 2)) ** 2
    times = np.geomspace(0.1, STEPS, 80) / largest
    errors = ((weights_over_time(phi, y, times) @ new.T - new_y) ** 2).mean(1)
    ridges = largest * np.geomspace(1e-6, 1, 25)
    values, vectors = np.linalg.eigh(phi @ phi.T)
    held = (vectors / (values + ridges[:, None, None])) @ (vectors.T @ y)
    ridge = ((held @ (new @ phi.T).T - new_y) ** 2).mean(1).min()
    return {"parameters": number, **_told(errors), "ridge": _short(ridge)}


def _told(errors: Array) -> dict[str, Any]:
    return {
        "least": _short(errors.min()), "last": _short(errors[-1]),
        "overtraining": _short(errors[-1] / errors.min() - 1),
    }  # fmt: skip


def _short(value: Any) -> float:
    return float(f"{float(value):.5g}")


def _back(found: Interval) -> Interval:
    """An interval of logarithms as one of ratios minus 1."""
    return found._replace(value=math.expm1(found.value), low=math.expm1(found.low), high=math.expm1(found.high))
