"""ONNX, run by ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from dnal.base.errors import UserError
from dnal.export.format import Format, Run
from dnal.export.program import BATCH, first_line
from dnal.export.sizes import Free
from dnal.space.surgery.inputs import Inputs

LARGEST = 2_000_000_000
"""Bytes; protobuf ends at 2 GiB, and a larger model would need a second file for its tensors."""


class Onnx(Format):
    name = "onnx"
    suffix = ".onnx"
    runtime = "ONNX Runtime"

    def __init__(self) -> None:
        try:
            import onnx
            import onnxruntime
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise UserError(f"the format 'onnx' needs {error.name}; run: pip install 'dnal[onnx]'") from None
        self._onnx, self._runtime = onnx, onnxruntime

    def contents(self, program: ExportedProgram, metadata: Mapping[str, str], free: Free) -> bytes:
        size = sum(t.numel() * t.element_size() for t in program.state_dict.values() if isinstance(t, Tensor))
        if size > LARGEST:
            raise UserError(
                f"an ONNX file holds at most 2 GB, this network's tensors are {size / 1e9:.1f} GB; use pt2."
            )
        try:
            exported = torch.onnx.export(program, (), dynamo=True, verbose=False)
            assert exported is not None
            for graph in (exported.model.graph, *exported.model.functions.values()):
                _with_numbers(graph)
            model = exported.model_proto
        except Exception as error:  # whatever the exporter meets in the user's operations
            raise UserError(f"PyTorch cannot write this network as ONNX ({_cause(error)}); use pt2.") from error
        _tidy(model, free)
        self._onnx.helper.set_model_props(model, dict(metadata))
        return bytes(model.SerializeToString())

    def runner(self, contents: bytes) -> Run:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        session = self._runtime.InferenceSession(contents, options, providers=["CPUExecutionProvider"])
        names = [place.name for place in session.get_inputs()]

        def run(inputs: Inputs) -> list[Tensor]:
            tensors = [leaf.numpy() for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
            return [torch.from_numpy(array) for array in session.run(None, dict(zip(names, tensors, strict=True)))]

        return run


def _cause(error: BaseException) -> str:
    """The innermost cause, in one line: PyTorch wraps it in headlines and advice to its own developers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def _with_numbers(graph: Any) -> None:
    """Early versions of onnxscript leave True in an attribute where protobuf takes 1 only."""
    for node in graph:
        for name, attribute in list(node.attributes.items()):
            if isinstance(getattr(attribute, "value", None), bool):
                node.attributes[name] = type(attribute)(name, attribute.type, int(attribute.value))


def _tidy(model: Any, free: Free) -> None:
    """Calls the free dimensions by their names, and leaves out what the exporter notes about itself: where the user's
    code stands, and every intermediate shape."""
    del model.graph.value_info[:]
    places = [*model.graph.input, *model.graph.output]
    names: dict[str, str] = {}
    for number, place in enumerate(model.graph.input):
        for dim, size in enumerate(place.type.tensor_type.shape.dim):
            own = BATCH if dim == 0 else free.of(number).get(dim, BATCH)
            if size.dim_param:
                names.setdefault(size.dim_param, own)
    for place in places:
        for size in place.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), size.dim_param)
    for noted in (model, model.graph, *places, *model.graph.initializer):
        del noted.metadata_props[:]
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        _forget(nodes)


def _forget(nodes: Any) -> None:
    for node in nodes:
        del node.metadata_props[:]
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                del graph.value_info[:]
                _forget(graph.node)
