"""What is inside a network, and what removal did to it: geometry of the last features, flips, calibration, likeness,
corruptions, people, routing to experts, smoothness of graphs. Pure functions first; :func:`analyse` holds finished runs
against each other.

The public names are loaded on first use, so that the command line's help does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnal.analyses.analysis import Analysis as Analysis
    from dnal.analyses.asked import Asked as Asked
    from dnal.analyses.attribution import Attribution as Attribution
    from dnal.analyses.attribution import Side as Side
    from dnal.analyses.attribution import attributed as attributed
    from dnal.analyses.calibration import Calibration as Calibration
    from dnal.analyses.calibration import calibration_of as calibration_of
    from dnal.analyses.calibration import confidences as confidences
    from dnal.analyses.corruptions import corrupted as corrupted
    from dnal.analyses.features import Seen as Seen
    from dnal.analyses.features import seen_of as seen_of
    from dnal.analyses.flips import Flips as Flips
    from dnal.analyses.flips import flips_of as flips_of
    from dnal.analyses.flips import in_the_lowest as in_the_lowest
    from dnal.analyses.geometry import Geometry as Geometry
    from dnal.analyses.geometry import class_directions as class_directions
    from dnal.analyses.geometry import cosines_of as cosines_of
    from dnal.analyses.geometry import geometry_of as geometry_of
    from dnal.analyses.geometry import margins as margins
    from dnal.analyses.geometry import rebuilt as rebuilt
    from dnal.analyses.likeness import agreement as agreement
    from dnal.analyses.likeness import cka_matrix as cka_matrix
    from dnal.analyses.likeness import rank_correlations as rank_correlations
    from dnal.analyses.measures.bank import BANK as BANK
    from dnal.analyses.measures.bank import Measured as Measured
    from dnal.analyses.measures.bank import generalisation as generalisation
    from dnal.analyses.of_run import analyse as analyse
    from dnal.analyses.people import People as People
    from dnal.analyses.people import disagreement as disagreement
    from dnal.analyses.people import people_of as people_of
    from dnal.analyses.people import read_people as read_people
    from dnal.analyses.redundancy import redundancy_of as redundancy_of
    from dnal.analyses.routing import Routing as Routing
    from dnal.analyses.routing import routing_of as routing_of
    from dnal.analyses.smoothness import smoothness_of as smoothness_of
    from dnal.analyses.writing import write_analysis as write_analysis

_HOMES = {
    "analysis": ("Analysis",),
    "asked": ("Asked",),
    "attribution": ("Attribution", "Side", "attributed"),
    "calibration": ("Calibration", "calibration_of", "confidences"),
    "corruptions": ("corrupted",),
    "features": ("Seen", "seen_of"),
    "flips": ("Flips", "flips_of", "in_the_lowest"),
    "geometry": ("Geometry", "class_directions", "cosines_of", "geometry_of", "margins", "rebuilt"),
    "likeness": ("agreement", "cka_matrix", "rank_correlations"),
    "measures.bank": ("BANK", "Measured", "generalisation"),
    "of_run": ("analyse",),
    "people": ("People", "disagreement", "people_of", "read_people"),
    "redundancy": ("redundancy_of",),
    "routing": ("Routing", "routing_of"),
    "smoothness": ("smoothness_of",),
    "writing": ("write_analysis",),
}
_PLACES = {name: f"dnal.analyses.{home}" for home, names in _HOMES.items() for name in names}

__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'dnal.analyses' has no attribute '{name}'")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value
