"""A trial: what it is, where it is, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dnal.run.config import Config, Size, read_yaml, validated
from dnal.run.files import CONFIG, LAST, RESULT
from dnal.sweep.attempt import Task, command_line
from dnal.sweep.configuration import Value
from dnal.sweep.table import Row, row_of

NO_REPORT = "--no-report"
"""A page of megabytes for each of a hundred trials; `dnal report` makes one of all."""


class Arranged(Config):
    """config.yaml, and with what numbers and in what order of memory the run computed."""

    threads: Size
    device: str
    precision: str
    memory_format: str


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        settings: what varies.
        learn: the arguments of `dnal learn`, all but --out. resume: those of `dnal resume` besides the run.
        timed: something of it is decided by timing, so that the arguments alone do not say everything.
        run: the run's folder.
        trust: what `--like` has to say of it, so that it runs the code that the sweep names.
    """

    name: str
    settings: dict[str, Value]
    learn: list[str]
    resume: list[str]
    timed: bool
    run: Path
    trust: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: not where a kill came between the result and the end of its checkpoint."""
        return (self.run / RESULT).is_file() and not (self.run / LAST).exists()

    @property
    def log(self) -> Path:
        """Beside the run, which holds nothing but its own files."""
        return self.run.with_name(f"{self.name}.log")

    def task(self, threads: int) -> Task:
        """For a worker, wherever it is called."""
        run = self.run.absolute()
        return Task(
            learn=[*self.learn, NO_REPORT],
            resume=[*self.resume, NO_REPORT],
            run=str(run),
            begun=str(run / CONFIG),
            finished=str(run / RESULT),
            log=str(self.log.absolute()),
            directory=str(Path.cwd()),
            threads=threads,
        )

    def row(self, threads: int, *, over: bool) -> Row:
        """Its row of the table; ``over``: it is not gone on with."""
        return row_of(self.name, self.settings, self.run, self.log, self.run / RESULT, self.command(threads), over=over)

    def command(self, threads: int) -> str:
        """What makes the same run again, in another folder; ``threads``: those that it gets, if it was not begun."""
        if not (self.run / CONFIG).is_file():
            return command_line(["learn", *self.learn], threads)
        config = validated(Arranged, read_yaml(self.run), f"'{self.run / CONFIG}'")
        arguments = ["--like", str(self.run), *self.trust] if self.timed or self._arranged(config) else self.learn
        return command_line(["learn", *arguments], config.threads)

    def _arranged(self, config: Arranged) -> bool:
        """Whether a step was arranged in another way than usual: faster on this CPU, or all that the network can."""
        usual = "32-true" if "--precision" not in self.learn else config.precision
        return config.device == "cpu" and (config.precision, config.memory_format) != (usual, "channels_last")
