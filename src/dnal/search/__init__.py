"""A network where there is none yet: spaces of networks, samplers that choose among them, and the search."""

from dnal.search.asked import DEFAULT_BUDGET, Searches
from dnal.search.samplers import SAMPLERS, Sampler
from dnal.search.search import SearchResult, search
from dnal.search.spaces import SPACES, NetworkSpace

__all__ = ["DEFAULT_BUDGET", "SAMPLERS", "SPACES", "NetworkSpace", "Sampler", "SearchResult", "Searches", "search"]
