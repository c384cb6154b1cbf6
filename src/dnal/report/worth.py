"""What the MACs that were removed are worth in time, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from dnal.costs.cost import COSTS
from dnal.costs.deployment import SATISFYING
from dnal.report.costs import known_costs
from dnal.report.numbers import percent, ratio
from dnal.report.source import Source, Tried, Worth

BETTER = 1.1
"""Other widths are named that are faster by this factor."""
NAMED = 3
"""Modules, those that take most of the time."""


def worth_sentences(source: Source) -> list[str]:
    """What was got for the MACs, where the time goes, and which bound would pay; none where hardly any MACs went."""
    costs = known_costs(source)
    if source.result.worth is None or not {"macs", "latency"} <= set(costs):
        return []
    macs, ms = ratio(*costs["macs"]), ratio(*costs["latency"])
    if not macs or not ms:
        return []
    where = COSTS["latency"].described(
        source.config.of_kind.counted(source.config.deploy_batch_size), source.config.backend
    )
    worth = macs / ms
    said = [
        f"With {percent(macs)} of the MACs the network takes {percent(ms)} of the base's {where}, measured: it is "
        f"{1 / ms:.2f} times as fast, where the MACs promise {1 / macs:.2f} times, and was given "
        f"{percent(worth)} of that."
    ]
    said += _where_it_goes(source)
    if worth >= SATISFYING:
        return [*said, "Here a bound on the MACs is a bound on the time."]
    said += _other_widths(source.result.worth, costs["macs"][0])
    if not any(constraint.cost == "latency" for constraint in source.result.constraints):
        said.append(
            f'What bounds the time itself is a bound on it, such as --budget "latency<={max(1, round(100 * macs))}%".'
        )
    return said


def faster(worth: Worth, base_macs: float) -> str | None:
    """Which widths would be clearly faster, in a sentence; None where none were tried that are."""
    best = _best(worth)
    if best is None or best.speedup < BETTER * (worth.speedup or 0.0):
        return None
    return (
        f"With --divisor {best.divisor} this network would be {best.speedup:.1f} times as fast as the base, at "
        f"{percent(best.macs / base_macs)} of its MACs: one of these proportions was measured beside it."
    )


def _other_widths(worth: Worth, base_macs: float) -> list[str]:
    best, sentence = _best(worth), faster(worth, base_macs)
    if best is None:
        return []
    return [
        sentence
        or f"Other widths would not help: with --divisor {best.divisor} a network of these proportions is "
        f"{best.speedup:.2f} times as fast as the base, measured beside it."
    ]


def _best(worth: Worth) -> Tried | None:
    return max(worth.tried, key=lambda one: one.speedup, default=None)


def _where_it_goes(source: Source) -> list[str]:
    """The modules that take most of the time that is left, and what takes time without MACs."""
    layers: Mapping[str, tuple[float, float]] = {} if source.result.worth is None else source.result.worth.layers
    total = sum(after for _, after in layers.values())
    if not total or source.details is None:
        return []
    macs = {layer.path: layer.macs[1] for layer in source.details.layers if layer.macs[1]}
    most = sorted(layers, key=lambda path: -layers[path][1])[:NAMED]
    share = sum(layers[path][1] for path in most) / total
    of_macs = sum(macs.get(path, 0.0) for path in most) / max(1.0, sum(macs.values()))
    idle = sum(after for path, (_, after) in layers.items() if path not in macs) / total
    names = ", ".join(path or "the network itself" for path in most)
    return [
        f"Of the time that is left in modules, {percent(share)} is in {names}, which have {percent(of_macs)} of its "
        f"MACs; {percent(idle)} is in modules that have none."
    ]
