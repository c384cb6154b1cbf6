"""Does the latency model predict networks that it has not seen?

Per network, batch and backend: a profile (`dnal.latency.profile`, calibrated on 16 architectures), then 30 random
architectures with other seeds, each group's share drawn from U(.15, 1), medians of interleaved runs. Reported:
Spearman's rank correlation and the median relative error of the prediction; the same of the best line through the MACs,
fitted on the networks that calibrated the model (`macs_error`) and, which no prediction could know, on the 30
themselves (`macs_error_own`); the drift of the machine between calibration and test (the networks of the calibration,
measured both times). Then the model is calibrated at bounds of 70 and 40 % of the base's latency
(`dnal.latency.focused`, as a job does), and architectures are chosen under them: what they take over what was asked. A
row that stands in the result file is not measured again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

import dnal
from dnal.latency import LatencyModel, fastest_multiple, focused, measured_ms, profile
from dnal.latency.assessment import assessed
from dnal.methods.magnitude import l1_scores
from dnal.methods.uniform import uniform_scores
from dnal.pipeline.feasibility import selected
from dnal.selection.widths import WidthRule
from dnal.space.surgery.inputs import at_batch
from result_file import append_rows, read_rows

FIRST_SEED = 0


def row(name: str, batch: int, backend: str, multiple: str, options: argparse.Namespace) -> dict[str, object]:
    torch.manual_seed(0)
    network = torchvision.models.get_model(name).eval()
    example = torch.randn(1, 3, options.size, options.size)
    space = dnal.Space.of(network, example)
    decided = (
        fastest_multiple(network, space, example, backend=backend, batch=batch) if multiple == "auto" else int(multiple)
    )
    begun = time.perf_counter()
    model = profile(network, space, example, backend=backend, batch=batch, multiple=decided, cache=options.cache)
    seconds = time.perf_counter() - begun
    seeds = range(FIRST_SEED, FIRST_SEED + options.architectures)
    found = assessed(model, network, space, example, backend=backend, seeds=seeds, turns=options.turns)
    bounds = [model.base_ms * share / 100 for share in options.budgets]
    near = focused(model, network, space, example, bounds, backend=backend)
    kept = budgets_kept(network, space, near, example, decided, options.budgets)
    return {
        "network": name,
        "size": options.size,
        "batch": batch,
        "backend": backend,
        "multiple": multiple,
        "decided_multiple": decided,
        "architectures": options.architectures,
        "turns": options.turns,
        "rank_correlation": f"{found.rank_correlation:.3f}",
        "macs_rank_correlation": f"{found.macs_rank_correlation:.3f}",
        "error": f"{found.error:.4f}",
        "macs_error": f"{found.macs_error:.4f}",
        "macs_error_own": f"{found.macs_error_own:.4f}",
        "error_without_drift": f"{found.error_without_drift:.4f}",
        "drift": f"{found.drift:.3f}",
        **{f"latency<={bound}": got and f"{got:.3f}" for bound, got in kept.items()},
        "base_ms": f"{model.measured[0]['ms']:.2f}",
        "profile_seconds": f"{seconds:.0f}",
        "focus_seconds": f"{near.seconds - model.seconds:.0f}",
        "threads": model.threads,
        "device": model.device,
        "versions": " ".join(f"{key} {value}" for key, value in model.versions.items()),
    }


def budgets_kept(
    network: nn.Module, space: dnal.Space, model: LatencyModel, example: Tensor, multiple: int, shares: list[int]
) -> dict[str, float | None]:
    """What compact networks take over what was asked, under bounds on the latency in percent of the base: of uniform
    widths, and of the largest L1 norms of fresh weights, which empty some layers. All are measured beside the base;
    None for a bound that no widths keep (on a GPU a small network takes as long as its calls take to issue)."""
    priced = space.with_cost("latency", model.cost(space))
    largest, widths = l1_scores(network, space), WidthRule(divisor=multiple)
    networks, asked = [network], {}
    found: dict[str, float | None] = {}
    for name, scores in (("uniform", uniform_scores(space, largest)), ("l1", largest)):
        for share in shares:
            found[f"{share}% {name}"] = None
            try:
                chosen = selected(priced, scores, {"latency": model.base_ms * share / 100}, widths, model)
            except dnal.UserError:
                continue
            networks.append(dnal.compact(network, dnal.Architecture.of(space, chosen), check=False))
            asked[f"{share}% {name}"] = share / 100
    base, *own = measured_ms(networks, at_batch(example, model.batch), model.backend)
    return found | {bound: ms / (base * share) for ms, (bound, share) in zip(own, asked.items(), strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--networks", nargs="+", default=["resnet50", "mobilenet_v2"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--backends", nargs="+", default=["torch-cpu", "onnxruntime-cpu"])
    parser.add_argument("--multiples", nargs="+", default=["1"], help="numbers, or auto")
    parser.add_argument("--architectures", type=int, default=30)
    parser.add_argument("--budgets", nargs="+", type=int, default=[70, 40], help="of the latency, in percent")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cache", action=argparse.BooleanOptionalAction, default=False, help="of the layers' times")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = read_rows(options.out)
    done = {(r["network"], r["batch"], r["backend"], r["multiple"], r["size"], r["threads"]) for r in rows}
    for batch in options.batches:
        for name in options.networks:
            for backend in options.backends:
                for multiple in options.multiples:
                    if (name, str(batch), backend, multiple, str(options.size), str(options.threads)) in done:
                        continue
                    found = row(name, batch, backend, multiple, options)
                    print(found, flush=True)
                    append_rows(options.out, list(found), [found])


if __name__ == "__main__":
    main()
