"""`dnal space`: what may vary in a network, and what may not."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnal.base.errors import UserError
from dnal.cli import options
from dnal.cli.display import amount, json_document, line, percent, table
from dnal.cli.errors import errors_as_sentences, say
from dnal.cli.found import alone
from dnal.cli.from_options import given, read, taking
from dnal.cli.summary import print_ranges, space_line
from dnal.settings import Deployment, Source, Widths

if TYPE_CHECKING:
    from dnal.selection.widths import WidthRule
    from dnal.space.space import Space

SHOWN = 3
WIDTHS = "What may vary"


@taking({Widths: WIDTHS})
@errors_as_sentences
def space(
    model: options.Model = "vgg_small",
    input_: Annotated[
        str | None,
        typer.Option("--input", metavar="C,H,W", help="Sizes of an example; default: what the model is made for."),
    ] = None,
    classes: Annotated[int | None, typer.Option(metavar="N", help="Default: what the model is made for.")] = None,
    deploy_batch_size: Annotated[int, typer.Option(metavar="N", help="Examples at once, for the memory.")] = 1,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="PARAM", help="Of this parameter only: which layers make and read its channels, or why they stay."
        ),
    ] = None,
    as_json: options.Json = False,
    **own: Any,
) -> None:
    """Show every group of channels, its share of the MACs, what is fixed and why, and what the network can cost."""
    asked = None if input_ is None else read(Source, "input", input_)
    read(Source, "classes", classes)
    read(Deployment, "deploy_batch_size", deploy_batch_size)
    widths = Widths(**given(Widths, own))
    rule = _rule(widths)

    from torch import Tensor

    from dnal.cli.network import created, drawn
    from dnal.costs.cost import COSTS
    from dnal.selection.select import least_costs
    from dnal.space.space import Space
    from dnal.space.surgery.edge import MixedEdge
    from dnal.supernet.step import BATCH, steps

    model, asked, classes = alone(model, asked, classes)
    kind, shape, example = drawn(model, asked)
    network, _ = created(model, classes, shape, kind=kind)
    found = Space.of(
        network,
        example,
        include=widths.include,
        exclude=widths.exclude,
        depth=bool(widths.prune_blocks),
        norms=widths.norms,
    )
    if explain is not None:
        explanation = found.explain(explain)
        if as_json:
            json_document(dataclasses.asdict(explanation))
        else:
            line(str(explanation))
        return
    for cost in (cost for cost in COSTS.values() if cost.of_gates and cost.per_batch):  # what one example does not tell
        try:
            function = cost.function_of_gates(network, found, example, deploy_batch_size)
            found = found.with_cost(cost.name, function)
        except UserError as error:
            say(f"note: {error}")
    document = described(found, model, shape, least_costs(found, rule))
    if isinstance(example, Tensor) and any(isinstance(module, MixedEdge) for module in network.modules()):
        taken = {name: dataclasses.asdict(step) for name, step in steps(network, example, BATCH).items()}
        document["step"] = {"batch": BATCH, "networks": taken}
    if as_json:
        json_document(document)
    else:
        _print(document)


def _rule(widths: Widths) -> WidthRule:
    """The rule for the widths; a divisor of "auto" leaves every width in reach."""
    from dnal.selection.widths import WidthRule

    return WidthRule(widths.min_width, widths.divisor if isinstance(widths.divisor, int) else 1)


def described(space: Space, model: str, shape: tuple[int, ...], least: dict[str, float]) -> dict[str, Any]:
    """The space in plain values; ``least``: the smallest costs that any architecture has."""
    from dnal.space.explain import why_fixed

    return {
        "model": model,
        "input_shape": list(shape),
        "macs": space.full_cost["macs"],
        "params": space.full_cost["params"],
        "costs": {name: {"base": base, "least": least[name]} for name, base in space.full_cost.items()},
        "variables": space.num_variables,
        "branches": [branch.name for branch in space.branches],
        "removable_share": space.removable_share,
        "groups": [
            {
                "name": group.name,
                "width": group.width,
                "share_of_macs": space.share_of_macs(group),
                "places": [f"{name}[{dim}]" for name, dim in group.places],
            }
            for group in space.groups
        ],
        "fixed": [{"reason": why, "tensors": names} for why, names in why_fixed(space).items()],
        "unknown": dict(space.unknown),
        "uncounted": [{"operation": name, "modules": paths} for name, paths in space.uncounted.items()],
        "helped": space.helped,
    }


def _print(found: dict[str, Any]) -> None:
    from dnal import models

    size = "x".join(map(str, found["input_shape"]))
    line(
        f"{models.called(found['model'])} at {size}: {amount(found['macs'])} MACs, {amount(found['params'])} parameters"
    )
    line(space_line(found["variables"], len(found["groups"]), len(found["branches"]), found["removable_share"]))
    line()
    print_ranges([{"cost": cost, **ends, "asked": []} for cost, ends in found["costs"].items()])
    line()
    rows = [
        (g["name"], str(g["width"]), percent(g["share_of_macs"]), _short(_modules(g["places"])))
        for g in found["groups"]
    ]
    table([("group", False), ("width", True), ("MACs", True), ("where", False)], rows)
    if found["branches"]:
        line()
        table([("branch", False)], [(name,) for name in found["branches"]])
    if "step" in found:
        line()
        networks = found["step"]["networks"]
        one = networks["one candidate"]
        table(
            [
                (f"a training step of {found['step']['batch']} images", False),
                ("kept for the gradients", True),
                ("time", True),
                ("", True),
            ],
            [
                (name, f"{amount(s['kept_bytes'])}B", f"{1e3 * s['seconds']:.1f} ms", _times(s, one))
                for name, s in networks.items()
            ],
        )
    if found["fixed"]:
        line()
        rows_fixed = [(f["reason"], str(len(f["tensors"])), _short(f["tensors"])) for f in found["fixed"]]
        table([("fixed because", False), ("tensors", True), ("where", False)], rows_fixed)
    if found["unknown"]:
        line()
        rows_unknown = [(name, str(count)) for name, count in found["unknown"].items()]
        table([("operation without a rule", False), ("calls", True)], rows_unknown)
    if found["uncounted"]:
        line()
        rows_uncounted = [
            (u["operation"], _short([path or "the network itself" for path in u["modules"]]))
            for u in found["uncounted"]
        ]
        table([("its MACs are not counted", False), ("where", False)], rows_uncounted)
    if found["helped"]:
        line()
        count, which = len(found["helped"]), _short([path or "the network itself" for path in found["helped"]])
        line(
            f"{'1 module of a smaller network needs' if count == 1 else f'{count} modules of a smaller network need'} "
            f"dnal to run, which corrects numbers in the code: {which}. What `dnal export` writes does not need it."
        )


def _times(step: dict[str, Any], one: dict[str, Any]) -> str:
    """How much more a step keeps and takes than another one."""
    return f"x{step['kept_bytes'] / one['kept_bytes']:.2f}, x{step['seconds'] / one['seconds']:.2f}"


def _modules(places: list[str]) -> list[str]:
    """The layers that own the tensors, each once, in the network's order."""
    return list(dict.fromkeys(place.rpartition(".")[0] or place for place in places))


def _short(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
