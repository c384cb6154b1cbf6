"""A network where there is none yet: spaces of networks, samplers that choose among them, and the search."""

from dnal.search.job import SearchResult, search
from dnal.search.samplers import SAMPLERS, Sampler
from dnal.search.spaces import SPACES, NetworkSpace

__all__ = ["SAMPLERS", "SPACES", "NetworkSpace", "Sampler", "SearchResult", "search"]
