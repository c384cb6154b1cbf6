"""The schedule of every hyperparameter that was tuned while a network trained."""

from __future__ import annotations

from dnal.report.curves import over_phases
from dnal.report.figure import Figure
from dnal.report.source import Source
from dnal.techniques.stn.hyperparameters import HYPERPARAMETERS

UNITS = {
    "dropout": "probability",
    "input-noise": "standard deviation",
    "jitter": "standard deviations of the image",
    "cutout": "pixels",
}


def tuning_figures(source: Source) -> list[Figure]:
    """A curve of each hyperparameter that the epochs tell, which are those of dnal alone: the log may be anybody's."""
    figures = (
        over_phases(
            source, name, name.capitalize().replace("-", " "),
            "As the validation data tuned it while the network trained, at the end of each epoch; each phase begins at "
            "its start.",
            1.0, ".4f", UNITS.get(name, ""),
        )
        for name in HYPERPARAMETERS
    )  # fmt: skip
    return [figure for figure in figures if figure is not None]
