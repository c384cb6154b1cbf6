"""PyTorch in eager mode, on the CPU or on an NVIDIA GPU."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dnal.base.errors import UserError
from dnal.latency.backends.backend import Backend
from dnal.latency.layers import Layer
from dnal.latency.replay import call_of
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.running import call, evaluating


class TorchCpu(Backend):
    name = "torch-cpu"

    def network(self, network: nn.Module, inputs: Inputs) -> Callable[[], float]:
        def run() -> float:
            with evaluating(network):
                begun = time.perf_counter()
                call(network, inputs)
                return 1e3 * (time.perf_counter() - begun)

        return run

    def layers(self, network: nn.Module, inputs: Inputs) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            times: dict[str, float] = {}
            begun: dict[str, float] = {}

            def enter(path: str) -> None:
                times.setdefault(path, 0.0)
                begun[path] = time.perf_counter()

            def leave(path: str) -> None:
                times[path] += 1e3 * (time.perf_counter() - begun[path])

            with evaluating(network), ExitStack() as hooks:
                for path, module in network.named_modules():
                    if any(True for _ in module.children()):
                        continue
                    for handle in (
                        module.register_forward_pre_hook(lambda *_, path=path: enter(path)),
                        module.register_forward_hook(lambda *_, path=path: leave(path)),
                    ):
                        hooks.callback(handle.remove)
                call(network, inputs)
            return times

        return run

    def layer(self, layer: Layer, shapes: Sequence[tuple[int, ...]]) -> Callable[[int], float] | None:
        forward = call_of(layer, shapes, torch.device("cpu"))
        if forward is None:
            return None

        def run(times: int) -> float:
            best = float("inf")
            with torch.no_grad():
                for _ in range(times):
                    begun = time.perf_counter()
                    forward()
                    best = min(best, time.perf_counter() - begun)
            return 1e3 * best

        return run


class TorchCuda(Backend):
    name = "torch-cuda"

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise UserError("the backend 'torch-cuda' needs an NVIDIA GPU that PyTorch sees; choose torch-cpu.")

    def network(self, network: nn.Module, inputs: Inputs) -> Callable[[], float]:
        if any(not p.is_cuda for p in network.parameters()):
            network = copy.deepcopy(network).cuda()
        inputs = tree_map_only(Tensor, lambda t: t.cuda(), inputs)

        def run() -> float:
            with evaluating(network):
                torch.cuda.synchronize()
                begun = time.perf_counter()
                call(network, inputs)
                torch.cuda.synchronize()
                return 1e3 * (time.perf_counter() - begun)

        return run

    def layer(self, layer: Layer, shapes: Sequence[tuple[int, ...]]) -> Callable[[int], float] | None:
        forward = call_of(layer, shapes, torch.device("cuda"))
        if forward is None:
            return None

        def run(times: int) -> float:
            with torch.no_grad():  # in a network the launches overlap with the work: so they do here
                torch.cuda.synchronize()
                begun = time.perf_counter()
                for _ in range(times):
                    forward()
                torch.cuda.synchronize()
            return 1e3 * (time.perf_counter() - begun) / times

        return run

    @property
    def device(self) -> str:
        return torch.cuda.get_device_name()

    @property
    def versions(self) -> dict[str, str]:
        return {**super().versions, "cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
