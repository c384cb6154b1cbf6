"""What a job that has ended leaves and says: reports, tables, folders, the next command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from dnal.cli.display import json_document, line

if TYPE_CHECKING:
    from dnal.cli.job import JobRequest
    from dnal.pipeline.result import Learned


def tell(folders: list[Path], *, as_json: bool) -> None:
    """What a script needs to know of finished runs: their folders, or a document with their results."""
    from dnal.run import read_result
    from dnal.run.files import REPORT

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


def show(job: JobRequest, results: list[Learned], folders: list[Path], report: Path | None) -> None:
    """The tables of finished runs for people, and what to do next; ``report``: where theirs is."""
    from dnal.cli.summary import print_constraints, print_figures, print_trade_off
    from dnal.run.config import read_config

    config = read_config(folders[0])
    if len(results) > 1:
        print_trade_off(results, config.objective)
        line()
        for folder in folders:
            line(f"run:  {folder}")
        _tell_next(job, folders[0], report)
        return
    (learned,), (folder,) = results, folders
    rows = learned.figures.rows()
    print_figures(
        rows["base"], rows["compact"], job.deployment.deploy_batch_size, learned.settings["backend"], learned.change,
        kind=config.kind, objective=config.objective,
    )  # fmt: skip
    print_constraints(learned.constraints)
    for block in learned.blocks:
        line(block)
    line()
    line(f"run:  {folder}")
    _tell_next(job, folder, report)


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
