"""What methods do to networks, a file each: channels leave, weights are held at zero, channels come; or nothing."""

from dnal.changes.change import Change
from dnal.changes.found import Found
from dnal.changes.growth import Growth
from dnal.changes.masks import Masks
from dnal.changes.removal import Removal

CHANGES: tuple[type[Change], ...] = (Removal, Masks, Growth, Found)
"""All of them; the first whose file a run folder holds is that of the run."""

__all__ = ["CHANGES", "Change", "Found", "Growth", "Masks", "Removal"]
