"""`dnal export`: a run's compact network as a standard file, or as a folder of Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnal.base.errors import UserError
from dnal.cli import options
from dnal.cli.display import json_document, line, percent, table
from dnal.cli.errors import errors_as_sentences

if TYPE_CHECKING:
    from dnal.export import Exported

INT8 = "int8"


@errors_as_sentences
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `dnal learn` wrote.")],
    to: Annotated[
        str,
        typer.Option(metavar="onnx|pt2|hf", help="ONNX, a torch.export program, or a folder that transformers reads."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A file, or the folder of hf. Default: in RUN. What is there is replaced."),
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar=INT8, help="ONNX in 8-bit integers, calibrated on the run's data; it shows what they cost."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="D", help="For --quantize: where the data are now, if they moved.")
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="For --quantize: folder of the downloaded sets, if it is another one now."),
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="Run this package's code where it builds the run's network; repeatable."),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Write a run's network as one file that needs no dnal, with a batch of any size, and check it."""
    if quantize not in (None, INT8):
        raise UserError(f"unknown --quantize '{quantize}'; known is {INT8}.")
    if quantize and to != "onnx":
        raise UserError("--quantize int8 writes ONNX only; say --to onnx.")

    from dnal.export import FOLDER, export_folder, export_run, format_of, quantize_run

    if to == FOLDER:
        exported = export_folder(run, out=out, trust=trust or ())
        if as_json:
            size = sum(file.stat().st_size for file in exported.path.iterdir())
            json_document({**described(exported, to), "bytes": size})
        else:
            line(str(exported.path) if quiet else f"{exported.path}: config.json and model.safetensors")
            if not quiet:
                line(_checked(exported, "transformers"))
        return

    runtime = format_of(to).runtime
    if quantize is None:
        exported = export_run(run, to, out=out, trust=trust or ())
        if as_json:
            json_document(described(exported, to))
            return
        if quiet:
            line(str(exported.path))
            return
        free = " and ".join(["a batch", *exported.sizes])
        line(f"{exported.path}: {_size(exported.path.stat().st_size)}, {free} of any size")
        line(_checked(exported, runtime))
        return
    made = quantize_run(run, out=out, data=data, root=root, trust=trust or ())
    if as_json:
        bytes_ = made.path.stat().st_size
        json_document(
            {**described(made.exported, to), "path": str(made.path), "bytes": bytes_, "quantize": quantize,
             "batch": made.batch, "figures": made.figures}
        )  # fmt: skip
        return
    if quiet:
        line(str(made.path))
        return
    line(f"{made.path}: {_size(made.path.stat().st_size)}, 8-bit integers, a batch of any size")
    line(f"in 32 bits {_checked(made.exported, runtime)}")
    line()
    images = "one image" if made.batch == 1 else f"{made.batch} images"
    headings = [("", False), ("accuracy (test data)", True), (f"latency ({images}, {runtime})", True), ("file", True)]
    rows = [
        (name, percent(row["accuracy"], 2), f"{row['latency_ms']:.3g} ms", _size(row["bytes"]))
        for name, row in made.figures.items()
    ]
    table(headings, rows)


def described(exported: Exported, to: str) -> dict[str, Any]:
    """The check in plain values; ``differences``: by batch, the largest one in shares of the largest output."""
    size = exported.path.stat().st_size if exported.path.exists() else None
    return {"path": str(exported.path), "format": to, "bytes": size, "differences": exported.differences,
            "free_sizes": list(exported.sizes)}  # fmt: skip


def _checked(exported: Exported, runtime: str) -> str:
    *first, last = exported.differences
    return (
        f"checked in {runtime} at batches of {', '.join(map(str, first))} and {last}: "
        f"the largest difference is {exported.difference:.1e} of the largest output"
    )


def _size(count: float) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} kB"
