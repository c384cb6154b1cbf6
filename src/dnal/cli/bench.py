"""`dnal bench`: every method on the same bases at the same cost."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnal.base.errors import UserError
from dnal.bench.suite import SUITES
from dnal.cli import options
from dnal.cli.display import json_document, line, teller
from dnal.cli.errors import Ended, errors_as_sentences, say
from dnal.cli.made_rows import check_whole, failed, tell_left
from dnal.cli.stopping import Signals, Terminated

if TYPE_CHECKING:
    from dnal.base.rows import Row
    from dnal.bench.bench import Outcome
    from dnal.bench.jobs import WorkItem
    from dnal.bench.suite import Suite

TABLE, PLOT = "table.md", "trade_off.png"


@errors_as_sentences
def bench(
    suite: Annotated[str, typer.Option(metavar="NAME", help=f"One of {', '.join(SUITES)}.")] = "smoke",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Instead of the suite's networks that of a finished run, on the run's data: what `dnal search` found, "
            "or what grew or lost channels.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of rows and tables; default: in runs/.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Where a data set is, such as cifar10=cifar10.npz; repeatable."),
    ] = None,
    root: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the downloaded sets.")] = None,
    jobs: Annotated[int, typer.Option(metavar="N", help="Runs side by side, one thread each.")] = 1,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this network or method of the suite; repeatable.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="N", help="Stop after so long; the same command goes on.")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Compare all methods at equal budgets, equal samples and from equal bases. The same command again goes on."""
    options.within(options.COUNT, "--jobs", jobs)
    options.within(options.AMOUNT, "--minutes", minutes)
    places = _places(data or [])

    from dnal.bench.bench import check_methods, minutes_over, run_suite
    from dnal.bench.folder import claimed
    from dnal.bench.ground import DataFolders, check_given
    from dnal.bench.jobs import runs
    from dnal.bench.plot import draw
    from dnal.bench.suite import check_data, suite_of
    from dnal.bench.suite import only as part
    from dnal.bench.table import document
    from dnal.run.files import RUNS

    whole = suite_of(suite) if model is None else _of_run(suite_of(suite), model)
    asked = part(whole, tuple(only or ()))
    check_methods(asked)
    check_data(whole, [name for name, _ in places])
    where = DataFolders(None if root is None else str(root), tuple(places))
    check_given(asked, where)
    called = "" if model is None else f"-{whole.networks[0].name}"
    folder = out or RUNS / f"bench-{suite}{called}"
    order = runs(whole)
    late = minutes_over(minutes)
    with claimed(folder, whole), _ended_at_once(), Signals() as signals:
        outcome = run_suite(
            asked, folder, order, folders=where, at_once=jobs, stop=lambda: late() or signals.asked(),
            on_end=_telling(teller(quiet=quiet, as_json=as_json)),
        )  # fmt: skip
        rows = {run: outcome.rows[run] for run in order if run in outcome.rows}
        if rows:
            from dnal.base.atomic import write_text

            # What the folder holds from other calls is the whole suite's, as far as it is there.
            own = set(rows) <= set(runs(asked))
            of = [] if model is None else ["--model", model]
            command = [
                "dnal",
                "bench",
                "--suite",
                suite,
                *of,
                *(word for n in only or [] if own for word in ("--only", n)),
            ]
            missing = len(set(runs(asked) if own else order) - set(rows) - set(outcome.impossible))
            write_text(folder / TABLE, document(rows, shlex.join(command), missing, outcome.impossible))
            draw(rows, folder / PLOT)
            if not as_json:
                line(str(folder / TABLE) if quiet else f"table: {folder / TABLE}")
    if as_json:
        json_document(described(outcome, folder, list(rows.values())))
    _end(outcome, signals.signal, folder, tell=not (quiet or as_json))


def described(outcome: Outcome, folder: Path, rows: list[Row]) -> dict[str, Any]:
    """How far the benchmark is, in plain values."""
    return {
        "folder": str(folder),
        "table": str(folder / TABLE) if rows else None,
        "rows": rows,
        "left": outcome.left,
        "failed": [{"job": job.name, "error": why} for job, why in outcome.failed.items()],
        "impossible": [{"job": run.name, "error": why} for run, why in outcome.impossible.items()],
    }


def _of_run(suite: Suite, model: str) -> Suite:
    """A suite with the network of a run, on its data, in the place of its first one, whose shares and epochs it gets;
    the others are left out.

    Raises:
        UserError: there is no finished run in that folder, or no name tells its network.
    """
    from dnal.cli.beginning import LONGEST_PART, slug
    from dnal.cli.found import config_of

    config = config_of(model)
    if config is None:
        raise UserError(f"--model is the folder of a finished run, which tells the data too, and not '{model}'.")
    own = replace(
        suite.networks[0], name=slug(Path(model).absolute().name)[:LONGEST_PART] or "run", model=config.model,
        data=config.data, input_shape=config.input, images=config.limit_train,
    )  # fmt: skip
    return replace(suite, networks=(own,))


def _places(given: list[str]) -> list[tuple[str, str]]:
    places = []
    for text in given:
        name, _, file = text.partition("=")
        if not (name and file):
            raise UserError(f"--data is a data set and where it is, such as cifar10=cifar10.npz, not '{text}'.")
        places.append((name, file))
    return places


def _telling(tell: Callable[[str], None]) -> Callable[[WorkItem, str, Outcome], None]:
    """Tells a line per job that ended."""
    from dnal.bench.jobs import Run
    from dnal.bench.results import metric_of

    def ended(job: WorkItem, failure: str, outcome: Outcome) -> None:
        if failure:
            tell(f"{job.name} failed: {failure}")
        elif isinstance(job, Run):
            row = outcome.rows[job]
            tell(
                f"{job.name}: {metric_of(row)} {100 * float(row['accuracy']):.2f} % at "
                f"{100 * float(row['used']):.1f} % of the budget ({len(outcome.rows)} rows)"
            )
        else:
            tell(f"{job.name}: done")

    return ended


def _end(outcome: Outcome, signalled: int | None, folder: Path, *, tell: bool) -> None:
    """Says what is not done; with ``tell`` also that which is no failure.

    Raises:
        Ended: after a signal. typer.Exit: with status 1 where something failed.
    """
    check_whole(signalled, killed=outcome.killed, left=outcome.left)
    if outcome.failed:
        job, why = next(iter(outcome.failed.items()))
        failed(f"{len(outcome.failed)} jobs failed; {job.name}: {why.rstrip('.')}; the same command tries them again.")
    if outcome.impossible:
        run, why = next(iter(outcome.impossible.items()))
        say(
            f"{len(outcome.impossible)} rows cannot be made; {run.name}: {why.rstrip('.')}; without its folder in "
            f"{folder / 'jobs'} it is tried again."
        )
    if tell:
        tell_left(outcome.left)


@contextmanager
def _ended_at_once() -> Iterator[None]:
    """A second signal as the end of the command."""
    try:
        yield
    except Terminated as terminated:
        sentence = "ended at once; the same command goes on from the last checkpoints."
        raise Ended(terminated.number, sentence) from None
