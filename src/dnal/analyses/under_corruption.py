"""Networks under corruptions: accuracy, calibration and geometry, all on the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dnal.analyses.analysis import CLEAN, Apart, Corrupted, Looked, Pair, Row, ahead
from dnal.analyses.calibration import calibration_of, confidences
from dnal.analyses.corruptions import Pixels, corrupted
from dnal.analyses.features import Head, Seen, run
from dnal.analyses.geometry import Geometry, geometry_of
from dnal.analyses.redundancy import redundancy_of
from dnal.base.errors import UserError
from dnal.base.statistics import paired_examples
from dnal.data.dataset import Dataset, Part, plain

AT_ONCE = 256
BEYOND = 0.02
"""How far values may lie beyond 0 and 1 and still be those of pixels."""


@dataclass(frozen=True)
class Running:
    """A network that is run again: on its device, with the data by which its inputs are normalised."""

    network: nn.Module
    data: Dataset
    batch: int
    head: Head | None


def pixels_of(part: Part, indices: Tensor, mean: Sequence[float], std: Sequence[float]) -> Pixels:
    """Images of a part as the network gets them, without normalisation: uint8 (N, H, W, C).

    Raises:
        UserError: their values are not between 0 and 1.
    """
    found = []
    for few in indices.split(AT_ONCE):
        inputs, _ = plain(part).batch(few, 0)
        values = inputs * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
        if float(values.min()) < -BEYOND or float(values.max()) > 1 + BEYOND:
            raise UserError(
                f"the images have values from {float(values.min()):.3g} to {float(values.max()):.3g}, and pixels are "
                "between 0 and 1; give images of 8 bits."
            )
        found.append((values.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.concatenate(found)


def under_corruptions(
    networks: Sequence[Looked],
    running: Sequence[Running],
    pairs: Sequence[Pair],
    indices: Tensor,
    names: Sequence[str],
    severities: Sequence[int],
    tell: Callable[[str], None],
) -> tuple[Corrupted | None, list[str]]:
    """Runs all networks under all corruptions.

    Args:
        indices: of the test images. tell: is called with a line for each corruption.

    Returns:
        What was found, None where no corruption can be made; and a sentence for each that cannot.
    """
    first = running[0].data
    images = pixels_of(first.test, indices, first.mean, first.std)
    targets = first.test.y[indices]
    clean = [_part(one.seen, indices) for one in networks]
    rows = [_row(n, CLEAN, 0, seen, networks[n], None) for n, seen in enumerate(clean)]
    own = [row.accuracy for row in rows]
    margins = [[_margins(seen, networks[n])] for n, seen in enumerate(clean)]
    correct: list[list[Tensor]] = [[] for _ in networks]
    made, remarks = [CLEAN], list[str]()
    for name in names:
        over: list[list[Seen]] = [[] for _ in networks]
        try:
            for severity in severities:
                tell(f"{name}, severity {severity}")
                pixels = corrupted(images, name, severity)
                for number, one in enumerate(running):
                    seen = run(one.network, _batches(one, pixels, targets), "corrupted", one.head)
                    rows.append(_row(number, name, severity, seen, networks[number], own[number]))
                    over[number].append(seen)
        except UserError as error:
            rows = [row for row in rows if row.corruption != name]
            remarks.append(f"A corruption is left out: {error}")
            continue
        made.append(name)
        for number, seens in enumerate(over):
            margins[number].append(torch.stack([_margins(seen, networks[number]) for seen in seens]).mean(0))
            correct[number].append(torch.stack([seen.correct.double() for seen in seens]).mean(0))
    if len(made) == 1:
        return None, remarks
    apart = [
        Apart(number, name, paired_examples(correct[p.compact][k].tolist(), correct[p.base][k].tolist()))
        for number, p in enumerate(pairs)
        for k, name in enumerate(made[1:])
    ]
    alike = redundancy_of(torch.stack([torch.stack(own) for own in margins]))
    return Corrupted(tuple(made), tuple(severities), len(indices), rows, apart, alike), remarks


def _batches(one: Running, pixels: Pixels, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (one.data.mean, one.data.std))
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return [
        (((few.float() / 255 - mean) / std).contiguous(), own)
        for few, own in zip(inputs.split(one.batch), targets.split(one.batch), strict=True)
    ]


def _part(seen: Seen, indices: Tensor) -> Seen:
    features = None if seen.features is None else seen.features[indices]
    return Seen(seen.logits[indices], seen.targets[indices], features, seen.head, seen.why, seen.single, seen.cut)


def _geometry(seen: Seen) -> Geometry | None:
    if seen.features is None or seen.head is None:
        return None
    return geometry_of(seen.features, seen.head.weight, seen.head.bias, seen.targets, seen.logits)


def _margins(seen: Seen, network: Looked) -> Tensor:
    found = _geometry(seen)
    return ahead(seen) if found is None or network.geometry is None else found.margins / network.geometry.scale


def _row(number: int, name: str, severity: int, seen: Seen, network: Looked, own: float | None) -> Row:
    confidence, found = confidences(seen.logits), _geometry(seen)
    accuracy = float(seen.correct.double().mean())
    scale = 1.0 if network.geometry is None else network.geometry.scale
    beside = accuracy if own is None else own
    return Row(
        number, name, severity, accuracy, accuracy / beside if beside else float("nan"),
        calibration_of(confidence, seen.correct).ece, float(confidence.mean()),
        None if found is None else float(found.margins.median()) / scale,
        None if found is None else float(found.lengths.median()) / scale,
        None if found is None else float(found.angles.median().rad2deg()),
    )  # fmt: skip
