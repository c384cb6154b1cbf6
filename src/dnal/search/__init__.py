"""A network where there is none yet: spaces of networks, samplers that choose among them, and the search."""

from dnal.search.embedding.trained import MLPSpace, train_embedding
from dnal.search.job import search
from dnal.search.pruners import PRUNERS, Pruner
from dnal.search.result import SearchResult
from dnal.search.samplers import SAMPLERS, Sampler
from dnal.search.spaces import SPACES, NetworkSpace

__all__ = [
    "PRUNERS",
    "SAMPLERS",
    "SPACES",
    "MLPSpace",
    "NetworkSpace",
    "Pruner",
    "Sampler",
    "SearchResult",
    "search",
    "train_embedding",
]
