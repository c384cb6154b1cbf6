"""What a job has reached: kept at the start of each phase, and as often as its checkpoints say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import nn

from dnal.base.errors import UserError, one_line
from dnal.train.resume.checkpoint import Checkpoints, Tree, damage
from dnal.train.resume.random_state import put_back, random_state

KINDS: dict[str, type] = {
    "phase": str, "job": dict, "carried": dict, "position": dict, "parts": dict, "history": list, "random": dict,
}  # fmt: skip
"""What is kept of a job."""
LONGEST = 200


class Stateful(Protocol):
    """A module, an optimizer, a search, a position in the data: what gives its state and takes it back."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any) -> Any: ...


@dataclass
class Position:
    """How far a phase is: whole epochs, steps of the next one, the sum of their losses, and the seconds they took."""

    epoch: int = 0
    step: int = 0
    losses: float = 0.0
    seconds: float = 0.0


class Checkpointer:
    """The state of one job, from which it goes on as if it had never stopped.

    Args:
        loaders: whose random state belongs to the job.
        checkpoints: where the state is kept on disk; with None it is kept in memory, at the start of phases only.
        stop: asked after every step; once it says yes the state is kept, and the job ends with :class:`Stopped`.
        writes: False in all processes of a job but one; they read what that one wrote.
    """

    def __init__(
        self,
        loaders: Sequence[Any] = (),
        checkpoints: Checkpoints | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        writes: bool = True,
    ) -> None:
        self._loaders, self._checkpoints, self._writes = list(loaders), checkpoints, writes
        self.stop = stop or (lambda: False)
        self.tree: Tree | None = None if checkpoints is None else checkpoints.load(_check)
        self.resumed = self.tree is not None
        """Whether the job goes on from a checkpoint, until that was reported once."""
        self._since = 0

    @property
    def phase(self) -> str | None:
        """The phase that was under way, or None for a job that has not begun."""
        return None if self.tree is None else str(self.tree["phase"])

    def begun(self, phase: str) -> bool:
        """Whether steps of a phase were kept: what was made of its network before the first one is put back then."""
        return self.phase == phase and self.tree is not None and "optimizer" in self.tree["parts"]

    @property
    def history(self) -> list[dict[str, Any]]:
        """The records of the epochs so far."""
        return [] if self.tree is None else list(self.tree["history"])

    @property
    def job(self) -> dict[str, Any]:
        """The settings of the job that was kept."""
        return {} if self.tree is None else dict(self.tree["job"])

    def carried(self, name: str) -> Any:
        """What an earlier phase left for this one.

        Raises:
            UserError: it left no such thing.
        """
        assert self.tree is not None
        with self.believed():
            return self.tree["carried"][name]

    @contextmanager
    def believed(self) -> Iterator[None]:
        """While what was kept is put back: what does not fit there is a damaged checkpoint.

        Raises:
            UserError: for whatever went wrong.
        """
        try:
            yield
        except UserError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if self._checkpoints is None:
                raise
            what = one_line(f"{type(error).__name__}: {error}", LONGEST)
            raise damage(self._checkpoints.folder, what) from error

    def check(self, job: Mapping[str, Any]) -> None:
        """Refuses to go on with another job than the one that was kept.

        Raises:
            UserError: naming the first setting that differs.
        """
        for name, value in job.items():
            with self.believed():
                same = self.tree is None or bool(self.job.get(name) == value)
            if not same:
                raise UserError(
                    f"the checkpoint belongs to another job: its {name} is {self.job.get(name)}, this one's {value}; "
                    "go on with the settings it began with, or choose another folder."
                )

    def begin(
        self,
        phase: str,
        *,
        job: Mapping[str, Any],
        history: list[dict[str, Any]],
        parts: Mapping[str, Stateful],
        carried: Mapping[str, Any],
    ) -> None:
        """Keeps the start of a phase, with what it and later ones need of the earlier ones (``carried``)."""
        self.tree = {"phase": phase, "job": dict(job), "carried": dict(carried)}
        self._keep(Position(), parts, history)

    def begin_stage(self, stage: Any, parts: Mapping[str, Stateful], history: list[dict[str, Any]]) -> None:
        """Keeps the start of a stage of the phase that is under way: what is trained next is trained from here.

        Args:
            stage: what :attr:`stage` shall be, as plain values and tensors. parts: as of :meth:`begin`.
        """
        if self.tree is None:  # nothing is kept of this job
            return
        self.tree = {**self.tree, "carried": {**self.tree["carried"], "stage": stage}}
        self._keep(Position(), parts, history)

    @property
    def stage(self) -> Any:
        """What the stage under way of a phase began with; None before the first."""
        if self.tree is None:
            return None
        with self.believed():
            return self.tree["carried"].get("stage")

    def resume_start(self, phase: str, network: nn.Module) -> None:
        """Puts back the network with which a phase began, and everything random, where no more than that was kept of
        it: whatever is made of the network before the first step, or drawn, is made of these weights and this state."""
        if self._only_start(phase):
            assert self.tree is not None
            with self.believed():
                network.load_state_dict(self._kept["network"])
                put_back(self.tree["random"], self._loaders)

    def resume(self, phase: str, parts: Mapping[str, Stateful], history: list[dict[str, Any]]) -> Position:
        """Puts back what was kept of this phase, in place, and says how far it was; not the network with which it
        began, which :meth:`resume_start` puts back before anything is made of it."""
        if self.tree is None or self.tree["phase"] != phase:
            return Position()
        kept = {name: part for name, part in self._kept.items() if name != "network" or not self._only_start(phase)}
        with self.believed():
            for name, part in parts.items():
                if name in kept:
                    part.load_state_dict(kept[name])
                    if isinstance(part, torch.optim.Optimizer):
                        _ordered_as_parameters(part)
            history[:] = self.tree["history"]
            put_back(self.tree["random"], self._loaders)
        return Position(**self.tree["position"])

    def _only_start(self, phase: str) -> bool:
        """Whether no more was kept of a phase than what it began with."""
        return self.tree is not None and self.tree["phase"] == phase and self._kept.keys() == {"network", "place"}

    @property
    def _kept(self) -> dict[str, Any]:
        assert self.tree is not None
        kept: dict[str, Any] = self.tree["parts"]
        return kept

    def due(self) -> bool:
        """Whether, counting this step, it is time for a checkpoint."""
        self._since += 1
        return self._checkpoints is not None and self._since >= self._checkpoints.every

    def keep(self, position: Position, parts: Mapping[str, Stateful], history: list[dict[str, Any]]) -> None:
        """Keeps the state between two steps of the phase that has begun, on disk."""
        if self.tree is not None and self._checkpoints is not None:
            self._keep(position, parts, history)

    def end(self) -> None:
        """Lets go of what the phase under way changed, which has ended: nothing of it is put back any more."""
        if self.tree is not None:
            self.tree["parts"] = {}

    def _keep(self, position: Position, parts: Mapping[str, Stateful], history: list[dict[str, Any]]) -> None:
        assert self.tree is not None
        self._since = 0
        self.tree |= {
            "position": asdict(position),
            "parts": {name: part.state_dict() for name, part in parts.items()},
            "history": list(history),
            "random": random_state(self._loaders),
        }
        if self._checkpoints is not None and self._writes:
            self._checkpoints.save(self.tree)


def _check(tree: Tree) -> None:
    """Refuses a tree that no job has kept.

    Raises:
        ValueError: naming what it lacks.
    """
    for name, kind in KINDS.items():
        if not isinstance(tree.get(name), kind):
            raise ValueError(f"no {name}")
    for record in tree["history"]:
        # What is summed up and reported of a phase at its end.
        if not isinstance(record["phase"], str) or not isinstance(record["seconds"], int | float):
            raise ValueError("an epoch without a phase or seconds")
    position = asdict(Position(**tree["position"]))
    if not all(type(position[name]) is int and position[name] >= 0 for name in ("epoch", "step")):
        raise ValueError("no position")
    if not all(isinstance(position[name], int | float) for name in ("losses", "seconds")):
        raise ValueError("no position")


def _ordered_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Gives its buffers the order in memory of their parameters, which a file of tensors does not keep."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
