"""Rich features: several features of the data in one network, and penalties for what holds in other environments."""

from dnal.techniques.rich.features import RichFeatures, rich_features
from dnal.techniques.rich.groups import balanced, groups_of, worst_group
from dnal.techniques.rich.head import last_linear
from dnal.techniques.rich.penalties import fishr, head_gradients, irmv1, nll, spectral_decoupling, vrex

__all__ = [
    "RichFeatures", "balanced", "fishr", "groups_of", "head_gradients", "irmv1", "last_linear", "nll", "rich_features",
    "spectral_decoupling", "vrex", "worst_group",
]  # fmt: skip
