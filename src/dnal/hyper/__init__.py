"""Hypernetworks: a small network predicts the weights of another one from what it is to be conditioned on."""

from dnal.hyper.encoding import constant_norm, constant_sum
from dnal.hyper.network import Hypernetwork, hypernetwork, with_weights
from dnal.hyper.trade_offs import TradeOff, trade_off

__all__ = [
    "Hypernetwork", "TradeOff", "constant_norm", "constant_sum", "hypernetwork", "trade_off", "with_weights",
]  # fmt: skip
