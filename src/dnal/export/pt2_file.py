"""A torch.export program in PyTorch's archive, run by PyTorch."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from dnal.base.errors import UserError
from dnal.export.format import Format, Run
from dnal.export.program import first_line
from dnal.export.sizes import Free
from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.running import call

METADATA = "metadata.json"
"""The extra file of the archive: ``torch.export.load(path, extra_files={"metadata.json": ""})`` reads it."""


class Pt2(Format):
    name = "pt2"
    suffix = ".pt2"
    runtime = "torch.export"

    def contents(self, program: ExportedProgram, metadata: Mapping[str, str], free: Free) -> bytes:
        # The paths of the user's code are private; the example is a pickle, and large beside a small network.
        program._example_inputs = None
        for module in program.graph_module.modules():
            for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                node.meta.pop("stack_trace", None)
        buffer = io.BytesIO()
        try:
            torch.export.save(program, buffer, extra_files={METADATA: json.dumps(dict(metadata), indent=1)})
        except Exception as error:  # whatever the serialiser meets in the user's operations
            raise UserError(f"PyTorch cannot write this network as pt2 ({first_line(error)}); use onnx.") from error
        return buffer.getvalue()

    def runner(self, contents: bytes) -> Run:
        network = torch.export.load(io.BytesIO(contents)).module()

        def run(inputs: Inputs) -> list[Tensor]:
            with torch.no_grad():
                return [leaf for leaf in tree_leaves(call(network, inputs)) if isinstance(leaf, Tensor)]

        return run
