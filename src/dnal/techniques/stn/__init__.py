"""Self-tuning networks: one training that tunes hyperparameters of regularisation while it goes on."""

from dnal.techniques.stn.hyperparameters import HYPERPARAMETERS, Hyperparameter
from dnal.techniques.stn.layers import HyperConv, HyperDropout, HyperLinear
from dnal.techniques.stn.network import SelfTuning
from dnal.techniques.stn.technique import SelfTuningNetworks
from dnal.techniques.stn.training import SelfTuned, self_tuning

__all__ = [
    "HYPERPARAMETERS",
    "HyperConv",
    "HyperDropout",
    "HyperLinear",
    "Hyperparameter",
    "SelfTuned",
    "SelfTuning",
    "SelfTuningNetworks",
    "self_tuning",
]
