"""Ways to choose what becomes of a network, behind one interface: a method is a file and a line below."""

from dnal.base.registry import Registry
from dnal.methods.method import Method

METHODS = Registry(
    "method",
    Method,
    {
        "dnal": "dnal.methods.dnal.method:DNAL",
        "paper": "dnal.methods.paper:Paper",
        "uniform": "dnal.methods.uniform:Uniform",
        "random": "dnal.methods.uniform:Random",
        "magnitude": "dnal.methods.magnitude:Magnitude",
        "magnitude-l2": "dnal.methods.magnitude:MagnitudeL2",
        "obs": "dnal.methods.obs:OBS",
        "taylor": "dnal.methods.taylor:Taylor",
        "slimming": "dnal.methods.slimming:Slimming",
        "tas": "dnal.methods.tas.tas:TAS",
        "random-search": "dnal.methods.random_search:RandomSearch",
        "magnitude-masks": "dnal.methods.sparsity.rounds:MagnitudeMasks",
        "layer-magnitude-masks": "dnal.methods.sparsity.rounds:LayerMagnitudeMasks",
        "random-masks": "dnal.methods.sparsity.rounds:RandomMasks",
        "gradual-masks": "dnal.methods.sparsity.gradual:GradualMasks",
        "edge-popup": "dnal.methods.sparsity.edge_popup:EdgePopup",
        "tiny": "dnal.methods.growing.rounds:TINY",
        "gradmax": "dnal.methods.growing.rounds:GradMax",
        "random-neurons": "dnal.methods.growing.rounds:RandomNeurons",
        "net2wider": "dnal.methods.net2wider:Net2Wider",
    },
)
"""All methods by name."""

__all__ = ["METHODS", "Method"]


def __getattr__(name: str) -> type[Method]:
    return METHODS.class_called(name)
