"""Ways to choose which networks are tried: a file each and a line below."""

from dnal.base.registry import Registry
from dnal.search.samplers.sampler import Sampler

SAMPLERS = Registry(
    "sampler",
    Sampler,
    {
        "pso": "dnal.search.samplers.pso:PSO",
        "aco": "dnal.search.samplers.aco:ACO",
        "evolution": "dnal.search.samplers.evolution:Evolution",
        "random": "dnal.search.samplers.chance:RandomSampler",
        "tpe": "dnal.search.samplers.tpe:TPE",
    },
)
"""All samplers by name."""

__all__ = ["SAMPLERS", "Sampler"]
