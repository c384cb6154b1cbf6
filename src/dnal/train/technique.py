"""A way to train better: empty hooks that say when they run. A technique overrides those that it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from dnal.base.options import Options
from dnal.space.surgery.inputs import Inputs
from dnal.train.loader import Loader
from dnal.train.outputs import task_loss

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from dnal.space.space import Space
    from dnal.train.step import Step

PHASES = ("base", "architecture", "retrain")
"""The phases of a job."""


@dataclass(frozen=True)
class Scene:
    """Where a technique is asked to act.

    Attributes:
        phase: "base", "architecture" or "retrain". epochs: of this phase. steps: of all its epochs.
        base: the trained network before removal, in eval mode; None in the phase that trains it.
        loss: that of the task, (outputs, targets) -> scalar.
        val: validation data, by which nothing is trained; None where there are none.
    """

    phase: str
    epochs: int
    steps: int
    base: nn.Module | None = None
    loss: Callable[[Any, Any], Tensor] = task_loss
    val: Loader | None = None


@dataclass
class Technique(Options):
    """A way to train better, in any phase of any method.

    A subclass is a dataclass: its fields are its options, its docstring is its card (formula, source, when it helps,
    what it costs). Whatever else it knows is made in :meth:`prepare`, which is called once at the start of each phase
    on a technique of its own. What it changes of the network is folded away in :meth:`finish`: what leaves a phase is
    an ordinary network.

    Attributes:
        phases: those in which it acts by default; none for one that acts before the removal alone.
        prepares_removal: whether it acts before the removal.
        turn: when it is prepared among others: 0, what draws new weights; 1, what scales them or copies the plain
            network; 2, all others.
        reparametrises: whether the network holds its weights in another way while it acts. It is prepared before all
            others of its turn and finished after them, so that these see the same parameters all the time.
        exchanges_layers: whether layers of the network are others while it acts, with more weights than they had.
            Beside it no other may reparametrise, nor look at single layers, nor may a method that retrains hold some
            weights at zero or add others.
        reads_layers: whether it looks at single layers of the network while it acts.
        truncates: whether features may be useless at its end. It is finished after all others, on the weights that
            leave the phase; and what nothing reads after the retraining is removed.
    """

    phases: ClassVar[tuple[str, ...]] = PHASES
    prepares_removal: ClassVar[bool] = False
    turn: ClassVar[int] = 2
    reparametrises: ClassVar[bool] = False
    exchanges_layers: ClassVar[bool] = False
    reads_layers: ClassVar[bool] = False
    truncates: ClassVar[bool] = False

    def check(self, outputs: Any) -> None:
        """Before anything is trained: refuses outputs of the network that it cannot work with.

        Raises:
            UserError: saying what to do instead.
        """

    def check_network(self, network: nn.Module, inputs: Inputs) -> None:
        """Before anything is trained: refuses a network, or inputs of it, that it cannot work with.

        Args:
            network: to be left as it is. inputs: of a few training examples, on the network's device.

        Raises:
            UserError: saying what to do instead.
        """

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Before anything is trained: refuses an optimizer of the weights that it cannot work with.

        Raises:
            UserError: saying what to do instead.
        """

    def before_removal(
        self, network: nn.Module, space: Space, open_variables: Tensor | None, loader: Loader, fabric: Fabric
    ) -> None:
        """Once, after a method has chosen and before what it chose leaves ``network``, the whole one, which may be
        changed in place.

        Args:
            open_variables: of the Space, those that stay, bool (num_gates,); None where the method does something else
                than removing. loader: training batches, to be left where it is.
        """

    def data(self, loader: Loader, scene: Scene) -> Loader:
        """The batches of the phase instead of ``loader``'s."""
        return loader

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        """Before the optimizer is made: the network may be changed in place."""

    def optimizer(self, optimizer: Optimizer) -> None:
        """The optimizer of the weights has been made: its groups may be changed. Each group's learning rate is the
        schedule's times its ``lr_scale``."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that are trained beside the network's."""
        return ()

    def batch(self, batch: Any, step: Step) -> Any:
        """The batch instead of ``batch``, (inputs, targets) on the device, before the forward pass."""
        return batch

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        """The loss instead of ``value``, that of the task and of the techniques before; ``step.task_loss`` computes it
        for other outputs or targets."""
        return value

    def after_backward(self, step: Step) -> None:
        """The gradients are there, the step is not done."""

    def after_step(self, step: Step) -> None:
        """The optimizer has moved the weights."""

    def record(self) -> dict[str, Any]:
        """What an epoch's record shall say of it, as plain values."""
        return {}

    def finish(self, network: nn.Module) -> None:
        """After the last step of the phase."""

    def state_dict(self) -> dict[str, Any]:
        """What its hooks change beside the network, so that a job that was killed goes on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was taken."""
