"""`dnal sweep`: many runs, on the cores of this machine or on a cluster."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from dnal.base.errors import UserError
from dnal.cli import options
from dnal.cli.display import json_document, line, table, teller
from dnal.cli.errors import Ended, errors_as_sentences, say
from dnal.cli.stopping import SIGNALS, Signals, Terminated

if TYPE_CHECKING:
    from dnal.cli.job import JobRequest
    from dnal.sweep.configuration import Sweep
    from dnal.sweep.table import Row
    from dnal.sweep.trial import Trial

FAILURES = 1
FIGURES = [("MACs", True), ("parameters", True), ("metric", True), ("holds", False)]


@errors_as_sentences
def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="What the trials share, and what varies.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the trials and their table; default: in runs/.")
    ] = None,
    trials_at_once: Annotated[
        int | None,
        typer.Option(metavar="N", help="They share the cores; default: one a GPU, or one for every four cores."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(metavar="A", help="Of a Ray cluster, or auto; default: RAY_ADDRESS, else this machine alone."),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Run a grid or a random search of the options of `dnal learn` on Ray Tune. The same command again goes on."""
    options.within(options.COUNT, "--trials-at-once", trials_at_once)

    from dnal.run.files import RUNS
    from dnal.sweep import on_ray
    from dnal.sweep.configuration import read_sweep
    from dnal.sweep.folder import check_folder, claimed
    from dnal.sweep.share import shared

    asked = read_sweep(config)
    folder = out or RUNS / config.stem
    trials = _trials(asked, folder)
    check_folder(folder, asked)
    for trial in trials:
        if trial.finished:
            trial.row(1, over=True)  # what is damaged is an error before Ray starts
    left = [trial for trial in trials if not trial.finished]
    tell = teller(quiet=quiet, as_json=as_json)
    events = _Events(folder, asked, trials, tell)
    with ExitStack() as stack:
        machines = stack.enter_context(on_ray.connected(address)) if left else None
        stack.enter_context(claimed(folder, asked))
        share = None if machines is None else shared(machines, len(left), trials_at_once)
        events.begin(1 if share is None else share.threads)
        if share is not None:
            tell(f"{len(left)} trials in '{folder}', {share.at_once} at once, threads of each: {share.threads}")
            check = stack.enter_context(
                _going_on(["dnal", "sweep", str(config), *([] if out is None else ["--out", str(out)])])
            )
            tasks = {trial.name: trial.task(share.threads) for trial in left}
            on_ray.run(tasks, share, folder, ended=events.ended, again=events.again, between=check)
    events.end(quiet=quiet, as_json=as_json)


class _Events:
    """The table of the trials, on disk and on the terminal, as they end."""

    def __init__(self, folder: Path, asked: Sweep, trials: list[Trial], tell: Callable[[str], None]) -> None:
        from dnal.sweep.folder import TABLE

        self._tell = tell
        self._path, self._varied, self._threads = folder / TABLE, asked.varied, 1
        self._trials = {trial.name: trial for trial in trials}
        self._rows: dict[str, Row] = {}

    def begin(self, threads: int) -> None:
        """``threads``: those of a trial that is begun now."""
        self._threads = threads
        self._rows = {name: trial.row(threads, over=False) for name, trial in self._trials.items()}
        self._write()

    def ended(self, name: str) -> None:
        row = self._rows[name] = self._trials[name].row(self._threads, over=True)
        self._write()
        self._tell(f"{_called(row, self._varied)}: {_figures(row) or row['error']}")

    def again(self, name: str) -> None:
        row = self._trials[name].row(self._threads, over=False)
        self._tell(f"{_called(row, self._varied)} goes on: {row['error'] or 'the process was killed'}")

    def end(self, *, quiet: bool, as_json: bool) -> None:
        """The whole table; if quiet only where it is, or all of it as a document.

        Raises:
            typer.Exit: with status 1 where a trial failed.
        """
        from dnal.sweep.table import FINISHED

        rows = list(self._rows.values())
        if as_json:
            json_document({"table": str(self._path), "trials": rows})
        elif quiet:
            line(str(self._path))
        else:
            line()
            table(
                [("trial", False), *((name, False) for name in self._varied), *FIGURES, ("status", False)],
                [_shown(row, self._varied) for row in rows],
            )
            line()
            line(f"table: {self._path}")
        failed = [row for row in rows if row["status"] != FINISHED]
        if failed:
            first = failed[0]
            say(
                f"{len(failed)} of {len(rows)} trials failed; {first['trial']}: {first['error'].rstrip('.')}; "
                "the same command tries them again."
            )
            raise typer.Exit(FAILURES)

    def _write(self) -> None:
        from dnal.base.atomic import write_text
        from dnal.sweep.table import csv_of

        write_text(self._path, csv_of(list(self._rows.values()), self._varied))


def _trials(asked: Sweep, folder: Path) -> list[Trial]:
    """All trials, checked as far as it goes without network and data.

    Raises:
        UserError: naming the trial that cannot work.
    """
    from dnal.cli.arguments import arguments_of, job_of
    from dnal.models import names_code
    from dnal.run.trust import trusting
    from dnal.sweep.trial import Trial

    arguments_of(asked.job)  # what is wrong with all of them is not the first one's fault
    digits = len(str(len(asked.trials) - 1))
    trials, jobs = [], []
    for number, settings in enumerate(asked.trials):
        name = f"trial-{number:0{digits}d}"
        try:
            arguments = arguments_of({**asked.job, **settings})
            job = job_of(arguments)
            _check(job)
        except UserError as error:
            raise UserError(f"{_called({'trial': name, **settings}, asked.varied)}: {error}") from None
        trust, source = trusting(job.code()), job.source
        # What the sweep names, its user asked for, on whatever machine a trial goes on.
        resume = ["--checkpoint-every", str(job.checkpoint_every), *trust]
        names = [source.data] if names_code(source.model) else [source.model, source.data]
        resume += [word for name in names for word in ("--trust", name)]
        trials.append(Trial(name, settings, arguments, resume, _timed(job), folder / name, tuple(trust)))
        jobs.append(job)
    _check_names(jobs)
    return trials


def _check(job: JobRequest) -> None:
    if len(job.budgets) > 1:
        raise UserError(f"a trial has one budget, not {len(job.budgets)}; let the budget vary, each value by itself.")


def _check_names(jobs: list[JobRequest]) -> None:
    """Unknown models and data, once each."""
    from dnal import data
    from dnal.cli.network import input_of

    for model, shape in dict.fromkeys((job.source.model, job.source.input) for job in jobs):
        input_of(model, shape)
    known = {each.name for each in data.names()}
    for name, root in dict.fromkeys((job.source.data, job.source.root) for job in jobs):
        if name not in known and not Path(name).expanduser().exists():
            data.load(name, root=root)  # says why not


def _timed(job: JobRequest) -> bool:
    """Whether timing decides something: what the latency is, and with it the widths that a backend likes."""
    from dnal.costs.budget import Budget

    return job.bounds[0] is not None and "latency" in Budget.parse(job.bounds[0]).costs


def _called(row: Row, varied: tuple[str, ...]) -> str:
    """ "trial-0 (budget=macs<=50%, seed=0)"."""
    from dnal.sweep.table import cell

    return f"{row['trial']} ({', '.join(f'{name}={cell(row[name])}' for name in varied)})"


def _shown(row: Row, varied: tuple[str, ...]) -> list[str]:
    """A row for people, with the headings FIGURES in its middle."""
    from dnal.costs.budget import amount
    from dnal.sweep.table import cell

    costs = [amount(cost, row[key]) if (key := f"compact_{cost}") in row else "-" for cost in ("macs", "params")]
    holds = {True: "yes", False: "NO", None: "-"}[row.get("holds")]
    settings = [cell(row[name]) for name in varied]
    return [row["trial"], *settings, *costs, _metric(row), holds, row["status"]]


def _figures(row: Row) -> str:
    from dnal.costs.budget import amount

    if "compact_macs" not in row:
        return ""
    macs = amount("macs", row["compact_macs"])
    return f"{macs} MACs, {_metric(row)}, {sum(v for k, v in row.items() if k.startswith('seconds_')):.0f} s"


def _metric(row: Row) -> str:
    """What the metric of a trial's objective says, with its name."""
    from dnal.data.objective import OBJECTIVES

    known = [(aim, row[f"compact_{aim.figure}"]) for aim in OBJECTIVES.values() if f"compact_{aim.figure}" in row]
    return f"{known[0][0].words} {known[0][0].shown(known[0][1])}" if known else "-"


class _Undisturbed(Signals):
    """Nothing disturbs Ray's end: once a signal is acted upon, no other is heard any more."""

    def check(self) -> None:
        """Ends the sweep once a signal has come.

        Raises:
            Terminated: with its number.
        """
        if self.signal is not None:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_IGN)
            raise Terminated(self.signal)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not Terminated:
            super().__exit__(kind, error, trace)

    def _came(self, number: int, frame: FrameType | None) -> None:
        try:
            super()._came(number, frame)
        except Terminated:
            self.check()


@contextmanager
def _going_on(command: list[str]) -> Iterator[Callable[[], None]]:
    """Gives the function that raises once a signal has come.

    Raises:
        Ended: with the command that goes on.
    """
    try:
        with _Undisturbed() as signals:
            yield signals.check
    except Terminated as terminated:
        raise Ended(terminated.number, f"interrupted; `{shlex.join(command)}` goes on.") from None
