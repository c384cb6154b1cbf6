"""The technique: hyperparameters of regularisation that are tuned while a network trains."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from dnal.base.errors import UserError, one_line
from dnal.base.options import option
from dnal.space.copying import deep_copy
from dnal.space.surgery.inputs import Inputs, cloned
from dnal.space.surgery.running import call, in_eval, undisturbed
from dnal.techniques.stn.network import SCALE, SelfTuning, chosen
from dnal.train.batch import split
from dnal.train.loader import check_length, endless
from dnal.train.resume.data_position import DataPosition
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique


@dataclass
class SelfTuningNetworks(Technique):
    """Self-tuning networks: dropout, input noise, jitter and cutout are tuned by the validation data in one training.

    While a phase trains, convolutions and linear layers answer to these hyperparameters, s W + diag(V l) W', of which
    each example of a batch has its own; after the warm-up a validation batch moves them every few steps along its
    gradient, which flows by the answers alone. At the phase's end the layers are the plain ones again, with the weights
    of the last values, and the network's dropouts have the tuned probability. The log has each value at the end of each
    epoch, under its name. A phase begins with the values of the start (dropout .05 of at most .9, noise .05, jitter .05
    of at most 1, cutout 4 of at most 24 pixels). Costs twice the weights, about twice the time of a training step, and
    1.3 to 1.5 steps for each validation batch. Helps where the strength of the regularisation matters and is not known;
    short trainings need a larger `rate`, such as .03. The validation data are no fair measure of the result any more.
    Hyperparameters of the optimizer, such as the learning rate, cannot be tuned so. Not as in the paper: it begins with
    the weights that are there, and acts in the retraining too. Source: MacKay et al., arXiv 1903.03088, with the
    published code; its tables are recalled.
    """

    phases: ClassVar[tuple[str, ...]] = ("base", "retrain")
    reparametrises: ClassVar[bool] = True
    exchanges_layers: ClassVar[bool] = True

    tune: tuple[str, ...] = option(
        ("input-noise",), "What is tuned: dropout, input-noise, jitter, cutout, such as dropout+input-noise."
    )
    warmup: float = option(0.1, "Share of the phase before the first validation step.", least=0, below=1)
    every: int = option(2, "Training steps for each validation step.", least=1)
    rate: float = option(3e-3, "Adam's learning rate of the hyperparameters.", above=0)
    scale: float = option(SCALE, "How far those of an example are from them at the start, before the bounds.", above=0)

    def __post_init__(self) -> None:
        if isinstance(self.tune, list | tuple) and all(isinstance(each, str) for each in self.tune):
            self.tune = tuple(name.strip() for each in self.tune for name in each.split("+"))
        super().__post_init__()
        chosen(self.tune)

    def check_network(self, network: nn.Module, inputs: Inputs) -> None:
        with warnings.catch_warnings(action="ignore"), undisturbed(inputs):  # training says it
            tuning = SelfTuning(deep_copy(network), self.tune, in_place=True)
            try:
                with torch.no_grad(), in_eval(tuning.network):
                    call(tuning.network, tuning.drawn(cloned(inputs)))
            except UserError:
                raise
            except Exception as error:  # whatever the user's own network raises
                if _runs(network, inputs):
                    said = one_line(f"{type(error).__name__}: {error}", 200)
                    raise UserError(
                        f"the network does not run with layers that answer to hyperparameters ({said}); leave "
                        "self-tuning out."
                    ) from error

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        self._tuning = SelfTuning(network, self.tune, scale=self.scale, loss=scene.loss, in_place=True)
        self._ascent = torch.optim.Adam([self._tuning.free, self._tuning.rho], self.rate)
        self._steps, self._warm = 0, round(self.warmup * scene.steps)
        self._position: DataPosition | None = None
        why = None if self._warm + self.every <= scene.steps else f"none of the {scene.steps} steps is followed by one"
        if scene.val is None:
            why = "there are none"
        else:
            check_length(scene.val, "validation")
            self._position = DataPosition(scene.val, alone=False)
            self._batches: Iterator[Any] = endless(self._position)
        if why is not None:
            warnings.warn(
                f"self-tuning moves its hyperparameters by validation batches, and {why} in the phase '{scene.phase}': "
                "they stay as they start.",
                stacklevel=2,
            )

    def batch(self, batch: Any, step: Step) -> Any:
        inputs, targets = batch
        return self._tuning.drawn(inputs), targets

    def after_backward(self, step: Step) -> None:
        self._tuning.settle()

    def after_step(self, step: Step) -> None:
        self._steps += 1
        if self._position is not None and self._steps > self._warm and (self._steps - self._warm) % self.every == 0:
            self._tune(step)

    def record(self) -> dict[str, Any]:
        return {name: round(value, 6) for name, value in self._tuning.values().items()}

    def finish(self, network: nn.Module) -> None:
        self._tuning.fold()

    def state_dict(self) -> dict[str, Any]:
        return {
            "free": self._tuning.free.detach(),
            "rho": self._tuning.rho.detach(),
            "ascent": self._ascent.state_dict(),
            "steps": self._steps,
            "val": None if self._position is None else self._position.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self._tuning.free.copy_(state["free"])
            self._tuning.rho.copy_(state["rho"])
        self._ascent.load_state_dict(state["ascent"])
        self._steps = state["steps"]
        if self._position is not None:
            self._position.load_state_dict(state["val"])

    def _tune(self, step: Step) -> None:
        """A validation step. What of its gradient is no number counts as 0, since to look whether it is would wait for
        the device; the loss of a training batch tells of a network that diverged."""
        batch = step.fabric.to_device(split(next(self._batches)))
        with step.fabric.autocast():
            value = self._tuning.validation_loss(batch)
        tuned = (self._tuning.free, self._tuning.rho)
        gradients = torch.autograd.grad(value, tuned, materialize_grads=True)
        for one, gradient in zip(tuned, gradients, strict=True):
            shared: Any = gradient
            if step.fabric.world_size > 1:  # each process has its own
                shared = step.fabric.all_reduce(gradient, reduce_op="mean")
            one.grad = shared.nan_to_num(0.0, 0.0, 0.0)
        self._ascent.step()


def _runs(network: nn.Module, inputs: Inputs) -> bool:
    try:
        with torch.no_grad(), in_eval(network):
            call(network, cloned(inputs))
    except Exception:  # whatever the user's own network raises
        return False
    return True
