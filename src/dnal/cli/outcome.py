"""What a job that has ended leaves and says: reports, tables, folders, the next command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dnal.cli.display import json_document, line

if TYPE_CHECKING:
    from dnal.cli.job import JobRequest
    from dnal.pipeline.result import Learned
    from dnal.report.paid import Paid


def tell(folders: list[Path], *, as_json: bool) -> None:
    """What a script needs to know of finished runs: their folders, or a document with their results."""
    from dnal.run import read_result
    from dnal.run.files import REPORT, RESULT

    folders = [folder for folder in folders if (folder / RESULT).is_file()]  # what was left out has no result
    if as_json:
        reports = [folder / REPORT for folder in folders]
        json_document(
            {
                "runs": [
                    {"run": str(folder), "report": str(report) if report.exists() else None, **read_result(folder)}
                    for folder, report in zip(folders, reports, strict=True)
                ]
            }
        )
        return
    for folder in folders:
        line(str(folder))


def reported(folders: list[Path], together: list[Path]) -> Path | None:
    """The report of every run in ``folders``, of those too that were finished before a job was killed, and where there
    are several of all ``together``, beside them; that one is returned."""
    from dnal.cli.report import report_at_the_end
    from dnal.run.files import REPORT

    lacking = [folder for folder in together if folder in folders or not (folder / REPORT).exists()]
    common = together[0].parent / REPORT
    # The one of all comes first: once none of the others is lacking, it is of all of them as they are.
    page = None
    if len(together) > 1 and (lacking or not common.exists()):
        page = report_at_the_end(together, common)
    made = [report_at_the_end([folder], folder / REPORT) for folder in lacking]
    return page if len(together) > 1 or not made else made[0]


def show(job: JobRequest, results: Mapping[Path, Learned], together: list[Path], report: Path | None) -> None:
    """The tables of finished runs for people, and what to do next.

    Args:
        results: of the runs that ended just now, by their folders. together: all that belong to them, some of which may
            have been finished before. report: where theirs is.
    """
    from dnal.cli.summary import print_constraints, print_figures, print_paid, print_trade_off
    from dnal.run.config import read_config

    config = read_config(together[0])
    compared = _compared(together)
    if compared or len(results) > 1:
        for one in compared:
            print_paid(one)
        if not compared:
            print_trade_off(list(results.values()), config.objective)
        line()
        for folder in results:
            line(f"run:  {folder}")
        _tell_next(job, next(iter(results), together[0]), report)
        return
    ((folder, learned),) = results.items()
    rows = learned.figures.rows()
    print_figures(
        rows["base"], rows["compact"], job.deployment.deploy_batch_size, learned.settings["backend"], learned.change,
        kind=config.kind, objective=config.objective,
    )  # fmt: skip
    print_constraints(learned.constraints)
    for block in learned.blocks:
        line(block)
    if learned.worth is not None and learned.worth["tried"]:
        from dnal.report.source import Worth
        from dnal.report.worth import faster

        sentence = faster(Worth.model_validate(learned.worth), learned.figures.base.macs)
        if sentence is not None:
            line()
            line(sentence)
    line()
    line(f"run:  {folder}")
    _tell_next(job, folder, report)


def _compared(folders: list[Path]) -> list[Paid]:
    """What those runs say that are compared with others."""
    from dnal.report.paid import paid_of
    from dnal.report.source import read_source
    from dnal.run.comparison import comparisons, settings_of

    return paid_of(list(map(read_source, folders))) if comparisons(settings_of(folders)) else []


def _tell_next(job: JobRequest, folder: Path, report: Path | None) -> None:
    if report is not None:
        line(f"see:  {report}")
    line(f"next: {_evaluating(job, folder)}")


def _evaluating(job: JobRequest, folder: Path) -> str:
    """The command that evaluates a run; it does not run a function that is not trusted."""
    from dnal.run.trust import code_in, trusting

    return shlex.join(
        ["dnal", "eval", str(folder), *trusting(code_in({"model": job.source.model, "data": job.source.data}))]
    )
