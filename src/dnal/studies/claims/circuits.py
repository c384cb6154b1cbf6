"""Do quantum circuits that many qubits encode keep what clients of federated learning have to themselves?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dnal import data
from dnal.base.options import option
from dnal.base.statistics import Interval, mean, paired
from dnal.models.quantum.circuit import Circuit
from dnal.models.quantum.federated import Client, example_gradients, federated, first_squared
from dnal.models.quantum.fisher import fisher, rank
from dnal.models.quantum.inversion import by_descent, grid_starts, of_linear_layer, random_starts, share_found
from dnal.models.quantum.landscape import landscape, random_components, random_unitaries
from dnal.models.quantum.perceptron import Perceptron
from dnal.models.quantum.tower import encode, highest_frequency
from dnal.studies.check import Check
from dnal.studies.figures import curves, number
from dnal.studies.study import Row, Setting, Size, Sizes, Source, Study

if TYPE_CHECKING:
    from dnal.report.figure import Figure

LANDSCAPE, ATTACK, TRAINING, TOGETHER = "landscape", "attack", "training", "together"
FEW, MANY, CIRCUIT = "4 random observables", "16 random observables", "circuit"
PERCEPTRON, LOGISTIC = "perceptron", "logistic regression"
TOWER, PLAIN = 3, 1
"""Bases of the encoding."""
INPUTS, LAYERS, MOST = 2, 3, 6
"""Numbers of an example; layers of circuits that are attacked or trained together; qubits of one number."""
RATES = (0.03, 0.1, 0.3)
"""Of training together; for each model the one whose losses end lowest."""
DEPTHS = (1, 2, 4, 8, 16, 24)
CLIENTS, TRUTHS, POINTS = 4, 4, 64
"""Clients; secret numbers whose landscapes a row has the mean of; inputs of the function that is learnt."""


class Images(NamedTuple):
    """Two features of images of two digits, within [0, pi], and which digit it is, 1 or -1."""

    x: Tensor
    y: Tensor
    test_x: Tensor
    test_y: Tensor


@dataclass(frozen=True)
class CircuitsKeepTheirInputs(Study):
    """Gradients of circuits with a Fourier tower hide their inputs, the better the more qubits, and deep ones train.

    Four parts. *landscape*: how many local minima the attacker's mismatch has in one number, and from where descent
    ends at the right one, for random observables and for circuits of three layers. *attack*: the gradient of one image
    (two features of two of the digits) is inverted by descent with restarts, and by a grid of as many evaluations whose
    best places descend. *training*: four qubits and more and more layers learn a random function, with the rank of the
    quantum Fisher matrix. *together*: four clients train by federated SGD.

    Controls: the encoding with base 1, a perceptron in the same protocol, whose first layer also gives its inputs away
    by a division, the grid, and logistic regression on the images of all clients.

    Two later papers, by the same group the first, weaken the claim: where the Lie algebra of the circuit has polynomial
    size, an attacker recovers what is needed to invert it (arXiv 2405.08801), and filters invert over-parameterised
    circuits numerically (arXiv 2504.12806). Neither attack is made here, so that rows which hold say that these
    attackers fail, and not that none can succeed. Noise of measurements is not simulated, and nothing here is
    differential privacy.
    """

    claim = (
        "Inverting gradients of an over-parameterised circuit with an expressive encoding means solving Chebyshev "
        "equations of a degree exponential in the qubits, and learning to do so meets exponentially many spurious "
        "minima, while the circuit itself trains."
    )
    source = Source(
        "N. Kumar, J. Heredge, C. Li, S. Eloul, S. H. Sureshbabu and M. Pistoia, Expressive variational quantum "
        "circuits provide inherent privacy in federated learning (2023)",
        "2309.13002",
        "The claim and the two later papers are verified with the abstracts; encoding, ansatz and protocol are "
        "recalled, and numbers and data of the paper are not known.",
    )
    needs = "Nothing: scikit-learn brings the digits."
    differs = (
        "Sizes and data are ours. Circuits that are attacked have three layers and so are not over-parameterised: "
        "random observables stand for those in the landscape. The features are principal components of all clients' "
        "images. The attacker knows circuit, parameters and target, and gradients are exact and of a single image."
    )
    sizes = Sizes(
        tiny=Size(2, "seconds", {
            "victims": 2, "restarts": 2, "steps": 8, "rounds": 4, "epochs": 6, "most": 4, "deepest": 4,
        }),
        small=Size(10, "10 minutes"),
        paper=Size(50, "several hours", {"victims": 16, "restarts": 50, "steps": 400, "epochs": 1000}),
    )  # fmt: skip
    victims: int = option(8, "Images whose gradients are inverted in a row.", least=1)
    restarts: int = option(20, "Of descent, for each of them.", least=2)
    steps: int = option(200, "Of each descent.", least=1)
    rounds: int = option(150, "Of training together.", least=1)
    epochs: int = option(300, "Steps of the circuits that learn a random function.", least=1)
    most: int = option(8, "Qubits of the largest circuit that is attacked, an even number.", least=4, most=10)
    deepest: int = option(24, "Layers of the deepest circuit that learns a random function.", least=4)

    def settings(self) -> Sequence[Setting]:
        top = min(MOST, self.most // 2 * 2)
        even = range(2, self.most + 1, 2)
        asked: list[tuple[str, str, int, int, int]] = [
            *((LANDSCAPE, FEW, qubits, base, 0) for base in (TOWER, PLAIN) for qubits in range(1, top + 1)),
            (LANDSCAPE, MANY, top, TOWER, 0),
            *((LANDSCAPE, CIRCUIT, qubits, TOWER, LAYERS) for qubits in range(2, top + 1, 2)),
            *((ATTACK, CIRCUIT, qubits, TOWER, LAYERS) for qubits in even),
            (ATTACK, CIRCUIT, even[-1], PLAIN, LAYERS), (ATTACK, PERCEPTRON, 0, 0, 2),
            *((TRAINING, CIRCUIT, 4, TOWER, layers) for layers in DEPTHS if layers <= self.deepest),
            *((TOGETHER, CIRCUIT, 4, base, LAYERS) for base in (TOWER, PLAIN)),
            (TOGETHER, PERCEPTRON, 0, 0, 2), (TOGETHER, LOGISTIC, 0, 0, 1),
        ]  # fmt: skip
        return [dict(zip(("part", "model", "qubits", "base", "layers"), one, strict=True)) for one in asked]

    def row(self, seed: int, part: str, model: str, qubits: int, base: int, layers: int) -> dict[str, Any]:
        torch.manual_seed(seed)
        if part == LANDSCAPE:
            return _landscape(seed, model, qubits, base, layers)
        if part == TRAINING:
            return _training(Circuit(INPUTS, qubits // INPUTS, layers, base), seed, self.epochs)
        made = (
            Perceptron(INPUTS)
            if model == PERCEPTRON
            else Circuit(INPUTS, max(1, qubits // INPUTS), layers, max(1, base))
        )
        if part == ATTACK:
            return _attack(self, made, seed)
        return _linear(_images(seed)) if model == LOGISTIC else _together(made, seed, self.rounds)

    def checks(self, rows: Sequence[Row]) -> list[Check]:
        most = self.most // 2 * 2
        top = min(MOST, most)

        def of(column: str, *asked: object) -> dict[int, float]:
            names = ("part", "model", "qubits", "base", "layers")
            return {
                int(row["seed"]): number(row, column)
                for row in rows
                if tuple(row[name] for name in names) == asked and column in row
            }

        def growth(column: str, model: str, base: int, layers: int) -> Interval:
            """The factor of a column per qubit, from two qubits on."""
            first, last = (of(column, LANDSCAPE, model, qubits, base, layers) for qubits in (2, top))
            both = [(first[seed], last[seed]) for seed in first if seed in last]
            return mean([(max(b, 1e-9) / max(a, 1e-9)) ** (1 / (top - 2)) for a, b in both])

        def found(column: str, *asked: object) -> Interval:
            return mean(list(of(column, *asked).values()))

        few, many = (of("minima", LANDSCAPE, model, top, TOWER, 0) for model in (FEW, MANY))
        tower, plain = ((ATTACK, CIRCUIT, most, base, LAYERS) for base in (TOWER, PLAIN))
        depths = [layers for layers in DEPTHS if layers <= self.deepest]
        shallow, deep = (of("log_loss", TRAINING, CIRCUIT, 4, TOWER, layers) for layers in (2, depths[-1]))
        ours = of("accuracy", TOGETHER, CIRCUIT, 4, TOWER, LAYERS)
        return [
            Check("minima multiply with every qubit of a tower", f"factor of their number per qubit, 2 to {top}",
                  growth("minima", FEW, TOWER, 0), above=2.0),
            Check("and the basin of the right one shrinks", f"factor of its share per qubit, 2 to {top}",
                  growth("basin", FEW, TOWER, 0), below=0.5),
            Check("in a circuit of three layers too", f"factor of the minima per qubit, 2 to {top}",
                  growth("minima", CIRCUIT, TOWER, LAYERS), above=2.0),
            Check("control: not in the plain encoding", f"factor of the minima per qubit, 2 to {top}",
                  growth("minima", FEW, PLAIN, 0), below=1.5),
            Check("more components do not help the attacker", f"log of the minima of 16 over 4, {top} qubits",
                  paired({seed: math.log(max(one, 1)) for seed, one in many.items()},
                         {seed: math.log(max(one, 1)) for seed, one in few.items()}, 0.9),
                  above=-math.log(1.5), below=math.log(1.5)),
            Check("descent does not invert the largest tower", f"share of images found, {most} qubits",
                  found("descent", *tower), below=0.25),
            Check("and neither does a grid of as many evaluations", f"share of images found, {most} qubits",
                  found("grid", *tower), below=0.25),
            Check("control: descent inverts the plain encoding", f"share of images found, {most} qubits, base 1",
                  found("descent", *plain), above=0.75),
            Check("control: descent inverts a perceptron", "share of images found",
                  found("descent", ATTACK, PERCEPTRON, 0, 0, 2), above=0.75),
            Check("a deep circuit learns a random function",
                  f"log10 of the loss over the variance, {depths[-1]} layers", mean(list(deep.values())), below=-2.0),
            Check("and a shallow one is stuck", f"log10 of the ratio of losses, 2 layers over {depths[-1]}",
                  paired(shallow, deep), above=1.0),
            Check("clients learn as well as with a perceptron", "test accuracy, circuit minus perceptron",
                  paired(ours, of("accuracy", TOGETHER, PERCEPTRON, 0, 0, 2)), above=-0.03),
            Check("and as well as logistic regression on all images",
                  "test accuracy, circuit minus logistic regression",
                  paired(ours, of("accuracy", TOGETHER, LOGISTIC, 0, 0, 1)), above=-0.03),
        ]  # fmt: skip

    def figure(self, rows: Sequence[Row]) -> Figure:
        told = [row | {"log10": math.log10(max(number(row, "minima"), 1))} for row in rows if row["part"] == LANDSCAPE]
        what = ("qubits of one number", "log10 of the local minima")
        return curves(told, "qubits", "log10", ["model", "base"], what=what)

    def imagined(self, row: Row, holds: bool) -> Row:
        noise = 0.001 * (int(row["seed"]) % 3)
        factor = 3.0 if (row["base"] == TOWER) == holds else 1.0
        minima = factor ** int(row["qubits"]) * (5 if row["model"] == MANY and not holds else 1)
        hidden = (row["base"] == TOWER) == holds
        shallow = int(row["layers"]) == 2
        return row | {
            "minima": minima * (1 + noise), "basin": (1 + noise) / minima,
            "descent": (0.0 if hidden else 1.0) + noise, "grid": (0.0 if hidden else 1.0) + noise,
            "log_loss": (-0.5 if shallow or not holds else -5.0) + noise,
            "accuracy": (0.9 if holds == (row["model"] == CIRCUIT) else 0.8) + noise,
        }  # fmt: skip


def _landscape(seed: int, model: str, qubits: int, base: int, layers: int) -> dict[str, Any]:
    """The mean over some secret numbers."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for place in range(TRUTHS):
        truth = float(math.pi * (0.05 + 0.9 * torch.rand((), generator=draw)))
        of = TRUTHS * seed + place
        highest = highest_frequency(qubits, base)
        if model == CIRCUIT:
            circuit, target = Circuit(1, qubits, layers, base), 1.0 - 2 * (place % 2)
            found.append(landscape(lambda x, c=circuit, s=of, y=target: _shared(c, s, x, y), truth, 2 * highest))  # type: ignore[misc]
        else:
            components = random_components(qubits, base, 4 if model == FEW else 16, of)
            found.append(landscape(components, truth, highest))
    return {name: round(sum(getattr(one, name) for one in found) / TRUTHS, 6) for name in ("minima", "basin")}


def _shared(circuit: Circuit, seed: int, x: Tensor, target: float) -> Tensor:
    """The gradient that a client sends of each of many numbers (P, 1), some at a time."""
    parameters, y = circuit.initial(seed), torch.tensor(target, dtype=x.dtype)
    return torch.cat([example_gradients(circuit, first_squared, parameters, part, y) for part in x.split(1000)])


def _attack(study: CircuitsKeepTheirInputs, model: Circuit | Perceptron, seed: int) -> dict[str, Any]:
    """Both attackers evaluate gradients equally often: restarts * steps times for each image."""
    images = _images(seed)
    chosen = torch.randperm(len(images.x), generator=torch.Generator().manual_seed(seed))[: study.victims]
    secret, y, parameters = images.x[chosen], images.y[chosen], model.initial(seed)
    seen = example_gradients(model, first_squared, parameters, secret, y)

    def gradients(x: Tensor) -> Tensor:
        return example_gradients(model, first_squared, parameters, x, y[:, None])

    # a step is a small part of the shortest period of the gradients; a perceptron has none
    rate = 0.5 / model.highest if isinstance(model, Circuit) else 0.1
    starts = random_starts(len(secret), study.restarts, INPUTS, seed=seed)
    descent = by_descent(gradients, seen, starts, steps=study.steps, rate=rate)
    points = max(2, math.isqrt(study.restarts * study.steps // 2))
    keep = max(1, min(study.restarts // 2, points**2))
    best = grid_starts(gradients, seen, INPUTS, points=points, keep=keep)
    grid = by_descent(gradients, seen, best, steps=study.steps, rate=rate / 5)
    found = {"descent": share_found(descent.x, secret), "grid": share_found(grid.x, secret)}
    if isinstance(model, Perceptron):
        found["divided"] = share_found(of_linear_layer(*model.first_layer(seen)), secret)
    return found


def _training(circuit: Circuit, seed: int, steps: int) -> dict[str, Any]:
    """A function of the same kind, with any unitary instead of the layers, is learnt at some inputs."""
    draw = torch.Generator().manual_seed(seed)
    x = math.pi * torch.rand(POINTS, INPUTS, generator=draw, dtype=torch.float64)
    size = 2**circuit.qubits
    turned = encode(x, circuit.per_input, circuit.base) @ random_unitaries(1, size, draw)[0].T
    chances = turned.abs().square()
    y = chances[:, : size // 2].sum(1) - chances[:, size // 2 :].sum(1)
    parameters = circuit.initial(seed).requires_grad_()
    begun = rank(fisher(circuit, parameters.detach(), x))
    optimizer = torch.optim.Adam([parameters], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        first_squared(circuit(parameters, x), y).mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        loss = float(first_squared(circuit(parameters, x), y).mean() / y.var(correction=0))
    return {"log_loss": round(math.log10(max(loss, 1e-12)), 4), "parameters": circuit.parameters, "rank": begun}


def _together(model: Circuit | Perceptron, seed: int, rounds: int) -> dict[str, Any]:
    images = _images(seed)
    clients = [Client(images.x[one::CLIENTS], images.y[one::CLIENTS]) for one in range(CLIENTS)]
    batch = min(16, *(len(client.x) for client in clients))
    tried = {
        rate: federated(
            model, first_squared, model.initial(seed), clients, rounds=rounds, rate=rate, batch=batch, seed=seed
        )
        for rate in RATES
    }
    ends = {rate: float(one.losses[-(rounds // 5 + 1) :].mean()) for rate, one in tried.items()}
    best = min((rate for rate in RATES if math.isfinite(ends[rate])), key=lambda rate: ends[rate], default=RATES[0])
    with torch.no_grad():
        told = model(tried[best].parameters, images.test_x)[:, 0].sign()
    return {"accuracy": round(float((told == images.test_y).double().mean()), 4), "rate": best}


def _linear(images: Images) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(images.x.numpy(), images.y.numpy())
    return {"accuracy": round(float(fitted.score(images.test_x.numpy(), images.test_y.numpy())), 4)}


@lru_cache(maxsize=4)
def _images(seed: int) -> Images:
    """Two digits that the seed draws: two principal components, scaled to [0, pi] by the training images."""
    parts = data.load("digits", augment=False)
    (x, labels), (test_x, test_labels) = (part.batch(torch.arange(len(part)), 0) for part in (parts.train, parts.test))
    draw = torch.Generator().manual_seed(seed)
    first, second = torch.randperm(10, generator=draw)[:2].tolist()
    chosen, tested = ((one == first) | (one == second) for one in (labels, test_labels))
    flat, test_flat = x[chosen].flatten(1).double(), test_x[tested].flatten(1).double()
    middle = flat.mean(0)
    axes = torch.linalg.svd(flat - middle, full_matrices=False).Vh[:INPUTS]
    found, told = (flat - middle) @ axes.T, (test_flat - middle) @ axes.T
    low, high = found.amin(0), found.amax(0)
    scaled = [(math.pi * (one - low) / (high - low)).clamp(0, math.pi) for one in (found, told)]
    signs = [torch.where(one == first, 1.0, -1.0).double() for one in (labels[chosen], test_labels[tested])]
    return Images(scaled[0], signs[0], scaled[1], signs[1])
