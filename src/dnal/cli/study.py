"""`dnal study`: claims of the field, tested again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnal.base.errors import UserError
from dnal.base.rows import rows_are
from dnal.cli import options
from dnal.cli.display import json_document, line, table, teller
from dnal.cli.errors import errors_as_sentences
from dnal.cli.forms import check_form
from dnal.cli.made_rows import check_whole, failed, heard, tell_left

if TYPE_CHECKING:
    from dnal.studies.run import Outcome


LISTED, RUN, REPORTED = "dnal study", "dnal study NAME", "dnal study NAME --report-only"
FORMS = {
    LISTED: (),
    RUN: ("size", "seeds", "out", "jobs"),
    REPORTED: ("size", "seeds", "out", "report_only"),
}


@errors_as_sentences
def study(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The study, or NAME:option=value,...; none: all are listed.")
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="tiny: seconds; small: what is committed; paper: the paper's own.")
    ] = "small",
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Seeds of every setting; default: the size's.")] = None,
    jobs: Annotated[int, typer.Option(metavar="N", help="Rows side by side, one process and thread each.")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of rows and report; default: in runs/.")
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Make no row; write the report of those that are in --out.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Test a claim of the field again: rows, checks, a verdict and a page. The same command again goes on."""
    options.within(options.COUNT, "--seeds", seeds)
    options.within(options.COUNT, "--jobs", jobs)
    check_form(ctx, LISTED if name is None else REPORTED if report_only else RUN, FORMS)
    if name is None:
        _listed(as_json=as_json)
        return

    from dnal.studies import STUDIES
    from dnal.studies.study import sized

    place, given = STUDIES.asked(name)
    chosen = sized(STUDIES.of(place), size, given, seeds)
    plain = place.replace(":", ".").replace("/", "-")
    folder = out or Path("runs") / f"study-{plain}-{size}"

    from dnal.studies.page import REPORT, write_page
    from dnal.studies.run import claimed, reading, rows_of, run_study
    from dnal.studies.verdicts import described

    if report_only and not folder.is_dir():
        raise UserError(f"there are no rows in '{folder}'; give the folder that has them with --out.")
    tell = teller(quiet=quiet, as_json=as_json)
    with claimed(folder, place, chosen.study), heard("rows") as signals:
        if report_only:
            rows, outcome = rows_of(chosen, folder), None
        else:
            tell(f"{len(chosen.rows())} rows; size {size}: {chosen.study.sizes.of(size).costs}")
            outcome = run_study(
                chosen, folder, at_once=jobs, stop=signals.asked,
                on_end=lambda what, why: tell(f"{what} failed: {why}" if why else f"{what}: done"),
            )  # fmt: skip
            rows = outcome.rows
        if not rows and report_only:
            raise UserError(f"there are no rows in '{folder}'; without --report-only they are made.")
        with reading(place, chosen.study, folder):
            found = described(place, chosen.study, rows)
            if rows:
                write_page(folder / REPORT, place, chosen, rows, left=outcome.left if outcome else 0)
    found |= {"folder": str(folder), "report": str(folder / REPORT) if rows else None}
    if outcome is not None:
        found |= {
            "left": outcome.left,
            "failed": [{"rows": what, "error": why} for what, why in outcome.failed.items()],
        }
    if as_json:
        json_document({**found, "table": rows})
    elif rows:
        _shown(found, quiet=quiet)
    if outcome is not None:
        _end(outcome, signals.signal, tell=not (quiet or as_json))


def _listed(*, as_json: bool) -> None:
    """All studies with what their committed rows say; none is imported."""
    from dnal.studies import STUDIES
    from dnal.studies.verdicts import claim_at, committed

    found = []
    for name in STUDIES.names():
        known = committed(name) if STUDIES.is_ours(name) else None
        place = STUDIES.place(name)
        told = claim_at(place) if STUDIES.is_ours(name) else f"of another package, {place}"
        found.append(
            {
                "name": name,
                "verdict": known["verdict"] if known else None,
                "ours": told,
                "rows": known["rows"] if known else 0,
                "checks": known["checks"] if known else [],
            }
        )
    if as_json:
        json_document({"studies": found})
        return
    rows = [(str(one["name"]), str(one["verdict"] or "no rows yet"), str(one["ours"])) for one in found]
    table([("study", False), ("committed verdict", False), ("what is claimed", False)], rows)


def _shown(found: dict[str, Any], *, quiet: bool) -> None:
    if quiet:
        line(found["report"])
        return
    rows = [
        (
            check["verdict"],
            check["claim"],
            check["statistic"],
            *(_number(check[one]) for one in ("value", "low", "high")),
        )
        for check in found["checks"]
    ]
    columns = [("verdict", False), ("check", False), ("statistic", False), ("", True), ("from", True), ("to", True)]
    table(columns, rows)
    line(f"{found['ours']} {found['verdict'][:1].upper()}{found['verdict'][1:]}, by {found['rows']} rows.")
    line(f"report: {found['report']}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _end(outcome: Outcome, signalled: int | None, *, tell: bool) -> None:
    """Says what is not done; with ``tell`` also that which is no failure.

    Raises:
        Ended: after a signal. typer.Exit: with status 1 where something failed.
    """
    check_whole(signalled, killed=outcome.killed, left=outcome.left)
    if outcome.failed:
        what, why = next(iter(outcome.failed.items()))
        failed(f"{rows_are(outcome.left)} missing; {what}: {why.rstrip('.')}; the same command tries them again.")
    if tell:
        tell_left(outcome.left)
