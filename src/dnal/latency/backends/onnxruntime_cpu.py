"""ONNX Runtime on the CPU, with its default graph optimisations."""

from __future__ import annotations

import copy
import io
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from dnal.base.errors import UserError
from dnal.latency.backends.backend import Backend
from dnal.latency.backends.onnx_layer import graph_of
from dnal.latency.layers import Layer
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.running import evaluating
from dnal.space.surgery.tensors import held_tensors

logger = logging.getLogger(__name__)


@cache
def _share_memory() -> None:
    """One pool of memory for all sessions: dozens of networks are measured in turn, and each would keep its own."""
    from onnxruntime import OrtAllocatorType, OrtArenaCfg, OrtMemoryInfo, OrtMemType, create_and_register_allocator

    kind = OrtMemoryInfo("Cpu", OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT)
    create_and_register_allocator(kind, OrtArenaCfg({}))


class OnnxRuntimeCpu(Backend):
    name = "onnxruntime-cpu"
    fuses = True

    def __init__(self) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise UserError(
                f"the backend 'onnxruntime-cpu' needs {error.name}; run: pip install 'dnal[onnx]'"
            ) from None
        self._onnx, self._runtime = onnx, onnxruntime
        _share_memory()

    def network(self, network: nn.Module, inputs: Inputs) -> Callable[[], float]:
        session = self._session(exported(network, inputs))
        arrays = [t.detach().cpu().numpy() for t in held_tensors(inputs)]
        feed = {place.name: array for place, array in zip(session.get_inputs(), arrays, strict=False)}

        def run() -> float:
            begun = time.perf_counter()
            session.run(None, feed)
            return 1e3 * (time.perf_counter() - begun)

        return run

    def layer(self, layer: Layer, shapes: Sequence[tuple[int, ...]]) -> Callable[[int], float] | None:
        graph = graph_of(layer, shapes)
        if graph is None:
            return None
        model, feed, operators = graph

        def run(times: int) -> float:
            # By itself a convolution also pays for the reordering of its input and output, inside a network it does
            # not: the runtime's own profile tells them apart.
            with tempfile.TemporaryDirectory() as folder:
                session = self._session(model, Path(folder) / "profile")
                for _ in range(times + 1):
                    session.run(None, feed)
                events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
            microseconds = [
                event["dur"]
                for event in events
                if event["name"].endswith("_kernel_time") and event["args"].get("op_name", "").endswith(operators)
            ]
            nodes = len(microseconds) // (times + 1)
            turns = [sum(microseconds[turn * nodes : (turn + 1) * nodes]) for turn in range(1, times + 1)]
            return float(min(turns)) / 1e3

        return run

    @property
    def versions(self) -> dict[str, str]:
        return {**super().versions, "onnxruntime": self._runtime.__version__, "onnx": self._onnx.__version__}

    def _session(self, model: bytes, profile: Path | None = None) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.use_env_allocators", "1")
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        return self._runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def exported(network: nn.Module, inputs: Inputs) -> bytes:
    """The network in eval mode as an ONNX model for inputs of exactly these shapes.

    Raises:
        UserError: where PyTorch cannot export it.
    """
    twin = copy.deepcopy(network).cpu()
    inputs = tree_map_only(Tensor, lambda t: t.detach().cpu(), inputs)
    args: tuple[Any, ...] = (inputs,) if isinstance(inputs, Tensor) else ()
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else None
    args = tuple(inputs) if isinstance(inputs, (tuple, list)) else args
    with warnings.catch_warnings(), evaluating(twin), _quiet():
        warnings.simplefilter("ignore")  # that the tracing exporter, the quick one, is not the newest
        try:
            buffer = io.BytesIO()
            torch.onnx.export(twin, args, buffer, kwargs=kwargs, dynamo=False)  # type: ignore[arg-type]
            return buffer.getvalue()
        except Exception as error:  # whatever tracing the user's forward raises
            logger.debug("the tracing exporter failed: %s", error)
        try:
            program = torch.onnx.export(twin, args, kwargs=kwargs, dynamo=True, verbose=False)
            assert program is not None
            return bytes(program.model_proto.SerializeToString())
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"PyTorch cannot export this network to ONNX ({reason}); choose the backend torch-cpu."
            ) from error


class _quiet:  # noqa: N801
    """The exporter's own log, which repeats what the exception says."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("torch.onnx")
        self._level = self._logger.level
        self._logger.setLevel(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)
