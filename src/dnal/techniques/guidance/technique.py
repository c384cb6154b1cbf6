"""The technique: a guide in training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError, one_line
from dnal.base.names import possible
from dnal.base.options import option
from dnal.base.place import found_at
from dnal.space.copying import deep_copy
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.running import call, evaluating
from dnal.techniques.guidance.guide import Guide
from dnal.train.batch import split
from dnal.train.loader import Loader, first_batch
from dnal.train.rows import to_device
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique

MODULE = "module"
"""What stands for a guide that was given as a module, which no file holds."""
CREATE, NAMES_CODE, LOAD = "dnal.models:create", "dnal.models:names_code", "dnal.run.loading:load"
"""What makes a network of a name stands above this room; it is asked for by its place, as registries do."""


@dataclass
class Guidance(Technique):
    """Guidance: the layers of a frozen network, trained or random, say how those of this one should see the examples.

    The loss is task + alpha * sum over pairs of layers of (1 - CKA(network's, guide's)), with linear CKA of the batch,
    pairs evenly spaced over both depths, and the last layer of each, the logits, left out. The guide may have any other
    form that takes the same inputs. Without `guide` the base guides what is left of it, in the retraining alone, beside
    distillation or instead of it; with one, it acts in the base's training too. Costs one forward pass of the guide per
    step, and for each pair N^2 (p + 3 q) multiplications of a batch of N and layers of p and q numbers. Helps networks
    that train badly without it (deep ones without shortcuts, fully connected ones on images), by the paper; the study
    of the same name asks again. The biased CKA finds all layers alike in a small batch, where `distance=unbiased-cka`
    does not. With several processes each compares its own part of a batch. Not as in the paper: the network runs once
    for both losses, not twice, and layers of every kind that have weights are compared, except for batch norms and
    embeddings. Source: Subramaniam et al., arXiv 2410.20035, with the layers and their map from the published code; its
    tables were not read.
    """

    phases: ClassVar[tuple[str, ...]] = ("base", "retrain")
    reads_layers: ClassVar[bool] = True

    guide: str | None = option(
        None,
        "A model's name, with random weights, or the folder of a run; in Python also a module; none: the base, in the "
        "retraining.",
    )
    distance: Literal["cka", "unbiased-cka", "rsa"] = option(
        "cka", "By what layers are compared; unbiased-cka suits small batches."
    )
    weight: float = option(1.0, "alpha.", above=0)
    steps: int | None = option(None, "At the start of a phase, with the guide; none: all of them.", least=1)
    seed: int = option(0, "Of the random weights of a guide that is a model's name.", least=0)
    network: nn.Module | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        given: Any = self.guide  # whatever its type says: the one argument takes all three
        if isinstance(given, nn.Module):
            self.network, self.guide = given, MODULE
        super().__post_init__()
        if self.network is not None:
            self.guide = MODULE

    def check_network(self, network: nn.Module, inputs: Inputs) -> None:
        if self.guide is not None:
            Guide(network, self._fitting(network, inputs), self.distance).close()

    def data(self, loader: Loader, scene: Scene) -> Loader:
        self._loader = loader
        return loader

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        self._steps, self._sum, self._count = 0, torch.zeros(()), 0
        self._guide: Guide | None = None
        guide = scene.base if self.guide is None else None  # there is none where it is trained itself
        if self.guide is not None:
            device = next(network.parameters()).device
            guide = self._fitting(network, to_device(split(first_batch(self._loader, "training"))[0], device))
        if guide is not None:
            self._guide = Guide(network, guide, self.distance)

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        if self._guide is None:
            return value
        distance = self._guide.distance(batch[0])
        self._steps, self._count = self._steps + 1, self._count + 1
        # A tensor until the epoch's end: to read it waits for the device.
        self._sum = self._sum.to(distance.device) + distance.detach()
        if self.steps is not None and self._steps >= self.steps:
            self._leave()
        return value + self.weight * distance.to(value.device)

    def record(self) -> dict[str, Any]:
        if not self._count:
            return {}
        mean, self._sum, self._count = float(self._sum) / self._count, torch.zeros(()), 0
        return {"distance_to_guide": mean}

    def finish(self, network: nn.Module) -> None:
        self._leave()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps, "sum": self._sum, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps, self._sum, self._count = state["steps"], state["sum"], state["count"]
        if self.steps is not None and self._steps >= self.steps:
            self._leave()

    def _leave(self) -> None:
        if self._guide is not None:
            self._guide.close()
        self._guide = None

    def _fitting(self, network: nn.Module, inputs: Inputs) -> nn.Module:
        """The guide, on the network's device, where the inputs are.

        Raises:
            UserError: there is none, or it cannot be called with them.
        """
        guide = self._made(inputs).to(next(network.parameters()).device)
        _check_runs(guide, inputs)
        return guide

    def _made(self, inputs: Inputs) -> nn.Module:
        """The guide, on whatever device, a network of its own.

        Args:
            inputs: for which a model is made.

        Raises:
            UserError: there is none.
        """
        guide = str(self.guide)
        if self.network is not None:
            return deep_copy(self.network)
        if guide == MODULE:
            raise UserError("the guide of this job was a module, which no file holds; give it again in Python.")
        if possible(guide, "name of the guide").is_dir():
            loaded: nn.Module = found_at(LOAD, "function", "dnal.load")(guide)
            return loaded
        if found_at(NAMES_CODE, "function", "dnal.models")(guide):
            raise UserError(f"the guide '{guide}' is code of your own; give the module itself, in Python.")
        sizes = tuple(inputs.shape[1:]) if isinstance(inputs, Tensor) and inputs.dim() > 1 else None
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            try:
                made: nn.Module = found_at(CREATE, "function", "dnal.models")(guide, input_shape=sizes)
            except UserError as error:
                raise UserError(
                    f"the guide '{guide}' is no folder of a run, and no model for these data: {error}"
                ) from error
        return made


def _check_runs(guide: nn.Module, inputs: Inputs) -> None:
    try:
        with evaluating(guide):
            call(guide, inputs)
    except Exception as error:  # whatever the guide's own code raises
        said = one_line(f"{type(error).__name__}: {error}", 200)
        raise UserError(
            f"the guide cannot be called with the training data ({said}); choose one that takes them."
        ) from error
