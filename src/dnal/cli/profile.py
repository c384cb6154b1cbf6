"""`dnal profile`: what a network takes on this machine, layer by layer, and how well that predicts smaller ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnal.base.options import Range
from dnal.cli import options
from dnal.cli.display import amount, json_document, line, percent, table
from dnal.cli.errors import errors_as_sentences
from dnal.cli.found import alone
from dnal.cli.from_options import read
from dnal.settings import MOST, MOST_BATCH, Source, Widths

if TYPE_CHECKING:
    from dnal.latency.assessment import Assessment
    from dnal.latency.model import LatencyModel
    from dnal.space.space import Space

SHOWN = 10
FIRST_SEED = 2000
STEADY = 1.05
"""Beyond this factor the machine itself has changed, which no model predicts: a line says so."""


@errors_as_sentences
def profile(
    model: options.Model = "vgg_small",
    input_: Annotated[
        str | None,
        typer.Option("--input", metavar="C,H,W", help="Sizes of an example; default: what the model is made for."),
    ] = None,
    classes: Annotated[int | None, typer.Option(metavar="N", help="Default: what the model is made for.")] = None,
    backend: Annotated[str, typer.Option(metavar="B", help="torch-cpu, torch-cuda or onnxruntime-cpu.")] = "torch-cpu",
    batch: Annotated[int, typer.Option(metavar="N", help="Examples at once.")] = 1,
    divisor: Annotated[int, typer.Option(metavar="N", help="The widths will be multiples of it.")] = 1,
    architectures: Annotated[
        int, typer.Option(metavar="N", help="Random ones to compare prediction and measurement on; 2 or more.")
    ] = 10,
    as_json: options.Json = False,
) -> None:
    """Time the layers of a network over widths on this machine, and compare predicted with measured milliseconds."""
    asked = None if input_ is None else read(Source, "input", input_)
    read(Source, "classes", classes)
    read(Widths, "divisor", divisor)
    options.within(Range(least=1, most=MOST_BATCH), "--batch", batch)
    options.within(Range(least=2, most=MOST), "--architectures", architectures)

    import torch

    from dnal import latency
    from dnal.cli.network import created, drawn
    from dnal.cli.progress import ProgressBars
    from dnal.latency.assessment import assessed
    from dnal.latency.backends import backend_of
    from dnal.space.space import Space
    from dnal.train.rows import to_device

    runtime = backend_of(backend)
    model, asked, classes = alone(model, asked, classes)
    kind, shape, example = drawn(model, asked)
    network, _ = created(model, classes, shape, kind=kind)
    network.eval()
    if backend == "torch-cuda":
        network, example = network.cuda(), to_device(example, torch.device("cuda"))
    space = Space.of(network, example)
    with ProgressBars() as bars:
        found = latency.profile(
            network, space, example, backend=runtime, batch=batch, multiple=divisor, progress=bars.profiling
        )
    seeds = range(FIRST_SEED, FIRST_SEED + architectures)
    compared = assessed(found, network, space, example, backend=runtime, seeds=seeds)
    document = described(found, space, compared, model, shape)
    if as_json:
        json_document(document)
    else:
        _print(document)


def described(
    found: LatencyModel, space: Space, compared: Assessment, model: str, shape: tuple[int, ...]
) -> dict[str, Any]:
    """The profile in plain values."""
    import torch

    from dnal.latency.model import Latency

    ms = Latency(found, space).terms_ms(torch.ones(space.num_gates), exactly=True).tolist()
    layers = sorted(zip(found.terms, ms, strict=True), key=lambda pair: -pair[1])
    rows = zip(compared.measured_ms.tolist(), compared.predicted_ms.tolist(), compared.macs.tolist(), strict=True)
    return {
        "model": model,
        "input_shape": list(shape),
        "backend": found.backend,
        "device": found.device,
        "versions": found.versions,
        "threads": found.threads,
        "batch": found.batch,
        "multiple": found.multiple,
        "seconds": found.seconds,
        "measured_ms": found.measured[0]["ms"],
        "predicted_ms": sum(ms),
        "layers": [{"path": t.path, "operation": t.name, "ms": own} for t, own in layers],
        "factors": found.factors,
        "constant_ms": found.constant,
        "architectures": [{"measured_ms": a, "predicted_ms": b, "macs": round(c)} for a, b, c in rows],
        "rank_correlation": compared.rank_correlation,
        "error": compared.error,
        "macs_rank_correlation": compared.macs_rank_correlation,
        "macs_error": compared.macs_error,
        "macs_error_own": compared.macs_error_own,
        "drift": compared.drift,
    }


def _print(found: dict[str, Any]) -> None:
    size = "x".join(map(str, found["input_shape"]))
    threads = f"{found['threads']} thread" + ("s" if found["threads"] > 1 else "")
    line(f"{found['model']} at {size}, batch {found['batch']}: {found['backend']}, {found['device']}, {threads}")
    line(
        f"{amount(found['measured_ms'])} ms measured, {amount(found['predicted_ms'])} ms predicted; "
        f"profiled in {found['seconds']:.0f} s"
    )
    line()
    total = found["predicted_ms"]
    shown = [
        (layer["path"], layer["operation"], amount(layer["ms"]), percent(layer["ms"] / total))
        for layer in found["layers"][:SHOWN]
    ]
    table([("layer", False), ("operation", False), ("ms", True), ("share", True)], shown)
    rest = found["layers"][SHOWN:]
    if rest:
        line(f"and {len(rest)} more: {amount(sum(layer['ms'] for layer in rest))} ms")
    line()
    rows = [
        (amount(a["macs"]), amount(a["measured_ms"]), amount(a["predicted_ms"]),
         percent(a["predicted_ms"] / a["measured_ms"] - 1))
        for a in found["architectures"]
    ]  # fmt: skip
    table([("MACs", True), ("measured ms", True), ("predicted ms", True), ("off", True)], rows)
    line()
    table(
        [("random architectures", False), ("rank correlation", True), ("median relative error", True)],
        [
            ("latency model", f"{found['rank_correlation']:.3f}", percent(found["error"])),
            ("line through the MACs", f"{found['macs_rank_correlation']:.3f}", percent(found["macs_error"])),
        ],
    )
    if not 1 / STEADY < found["drift"] < STEADY:
        line(
            f"the machine took {found['drift']:.2f} times as long for the same networks as during the calibration: "
            "measure again while nothing else runs"
        )
