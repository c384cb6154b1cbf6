"""What is in a zoo: which networks there are, and how each is trained; drawn from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from dnal.base.errors import UserError
from dnal.base.options import Options, option
from dnal.predictors.weights.chain import ACTIVATIONS

Kind = Literal["cnn", "mlp"]
KINDS: tuple[Kind, ...] = ("cnn", "mlp")
LR = (-2.5, -0.5)
DECAY = (-6.0, -2.0)
SCALE = (-0.3, 0.2)
SHARE = (-1.5, 0.0)
"""Powers of ten between which are drawn: learning rate, weight decay, size of the first weights over the usual one, and
the share of the training images that a network sees."""
FEWEST_STEPS, FEWEST_EXAMPLES = 20, 20


@dataclass(frozen=True)
class Recipe(Options):
    """Of a zoo.

    Networks of one shape are trained together; shape and activation are drawn for each such part, and for every network
    its start, learning rate, weight decay, training length, images and their order.

    Examples:
        >>> recipe = Recipe(networks=70, together=50)
        >>> [recipe.part(place).shape.kind for place in range(recipe.parts)]
        ['cnn', 'cnn']
        >>> len(recipe.part(1).trainings)
        20
    """

    networks: int = option(300, "How many.", least=2, most=2**16)
    kind: Literal["cnn", "mlp", "both"] = option("cnn", "Convolutions and one linear layer, linear layers, or both.")
    side: int = option(8, "Height and width of the images, which are grey.", least=4, most=32)
    images: int = option(2000, "To train on, at most.", least=FEWEST_EXAMPLES, most=2**20)
    widths: tuple[int, ...] = option((8, 12, 16), "Of a hidden layer.", least=1, most=512)
    depths: tuple[int, ...] = option((2, 3), "Hidden layers.", least=1, most=8)
    activations: tuple[str, ...] = option(("relu", "tanh", "gelu"), "After every hidden layer.", known=ACTIVATIONS)
    steps: int = option(600, "Of training, at most.", least=FEWEST_STEPS, most=10**6)
    batch: int = option(32, "Images of a step.", least=1, most=2**12)
    together: int = option(50, "Networks that are trained at once.", least=1, most=2**10)
    seed: int = option(0, "Of everything that is drawn.", least=0, most=2**31 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        empty = [name for name in ("widths", "depths", "activations") if not getattr(self, name)]
        if empty:
            raise UserError(f"{empty[0]} is empty; give at least one.")

    @property
    def parts(self) -> int:
        """How many groups of networks are trained."""
        return math.ceil(self.networks / self.together)

    def size(self, place: int) -> int:
        """How many networks a part has."""
        return min(self.together, self.networks - place * self.together)

    def part(self, place: int) -> Part:
        """The networks of a part; it does not depend on the others."""
        rng = np.random.default_rng((self.seed, place))
        kind = KINDS[place % 2] if self.kind == "both" else self.kind
        widths = tuple(int(each) for each in rng.choice(self.widths, size=int(rng.choice(self.depths))))
        shape = Shape(kind, widths, str(rng.choice(self.activations)))
        return Part(shape, tuple(self._training(rng) for _ in range(self.size(place))))

    def _training(self, rng: np.random.Generator) -> Training:
        lr, decay, scale, share = (float(10 ** rng.uniform(*range_)) for range_ in (LR, DECAY, SCALE, SHARE))
        examples = max(FEWEST_EXAMPLES, round(share * self.images))
        steps = round(10 ** rng.uniform(math.log10(FEWEST_STEPS), math.log10(self.steps)))
        return Training(lr, decay, scale, examples, steps, int(rng.integers(2**31)))


@dataclass(frozen=True)
class Shape:
    """Of networks that are trained together.

    Attributes:
        kind: "cnn": convolutions 3x3 with stride 2, a mean over positions and a linear layer; "mlp": linear layers.
        widths: of the hidden layers. activation: after each of them.
    """

    kind: Kind
    widths: tuple[int, ...]
    activation: str


@dataclass(frozen=True)
class Training:
    """Of a network.

    Attributes:
        lr: of SGD with momentum 0.9. decay: of its weights. scale: of the first weights, over He's.
        examples: how many images it sees. steps: how many. seed: of its start, its images and their order.
    """

    lr: float
    decay: float
    scale: float
    examples: int
    steps: int
    seed: int

    @classmethod
    def of_values(cls, values: Any) -> Self:
        """From plain values by name, which may be anybody's.

        Raises:
            UserError: they are none.
        """
        kinds = {"lr": float, "decay": float, "scale": float, "examples": int, "steps": int, "seed": int}
        if not isinstance(values, dict) or any(type(values.get(name)) is not kind for name, kind in kinds.items()):
            raise UserError("it does not say how its networks were trained; make it again with `dnal predict zoo`.")
        return cls(**{name: values[name] for name in kinds})


@dataclass(frozen=True)
class Part:
    """Networks that are trained together."""

    shape: Shape
    trainings: tuple[Training, ...]
