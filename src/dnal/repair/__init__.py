"""What can be rebuilt from what stays: curves of loss over width, and the rebuilding.

A channel that the others foretell can leave: the layers that read it take what it said from those. This room measures
that (``statistics``), says for every group in which order its channels leave and what each width costs (``curves``),
orders the channels of the whole network by it (``order``), and rebuilds the layers that read (``rebuild``). What the
network loses without one of its branches, and how layers do without, is in ``absence``.

Sources: Optimal Brain Surgeon (Hassibi and Stork, 1993), for whole channels; least squares as in He et al., arXiv
1707.06168.
"""

from dnal.repair.absence import Absence, absences
from dnal.repair.curves import Curve, curves
from dnal.repair.rebuild import rebuilt

__all__ = ["Absence", "Curve", "absences", "curves", "rebuilt"]
