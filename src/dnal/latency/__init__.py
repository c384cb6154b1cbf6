"""What a network takes on the user's own device: measured layer by layer, summed as a function of the gates."""

from dnal.latency.focus import focused
from dnal.latency.model import LatencyModel
from dnal.latency.multiple import fastest_multiple
from dnal.latency.profiling import measured_ms, profile

__all__ = ["LatencyModel", "fastest_multiple", "focused", "measured_ms", "profile"]
