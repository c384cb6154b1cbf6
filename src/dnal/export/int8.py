"""An ONNX file in 8-bit integers, by ONNX Runtime's own quantizer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnal.base.atomic import write_bytes
from dnal.base.errors import UserError
from dnal.export.onnx_file import Onnx
from dnal.export.program import first_line
from dnal.export.quiet import quiet
from dnal.export.writing import BATCHES, check_place


def quantize_onnx(source: str | Path, path: str | Path, batches: Iterable[Tensor]) -> Path:
    """Writes an ONNX file whose weights and activations are 8-bit integers, with the metadata of the first.

    Static quantization between QuantizeLinear and DequantizeLinear nodes; a scale per output channel of each weight,
    and of each activation one that its extremes on ``batches`` tell. Weights use 7 of the 8 bits, since CPUs without
    integer dot products (x86 before VNNI) overflow at 8.

    Args:
        source: an ONNX file of one input.
        path: the file to write; one that is there is replaced.
        batches: images as the network takes them, normalised: some of the training data.

    Raises:
        UserError: a package that is missing, a place that cannot be written, no batches, or a network that cannot be
            quantized.
    """
    kind, source, path = Onnx(), Path(source), Path(path)
    check_place(path, kind)
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = onnx.load(source)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    name = model.graph.input[0].name
    remaining = iter(batches)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            batch = next(remaining, None)
            return None if batch is None else {name: batch.cpu().numpy()}

    def quantized() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            prepared, small = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
            quant_pre_process(str(source), str(prepared))
            quantize_static(
                str(prepared),
                str(small),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            written = onnx.load(small)
        onnx.helper.set_model_props(written, {**metadata, "quantization": "int8"})
        contents = bytes(written.SerializeToString())
        run = kind.runner(contents)
        shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        for batch in BATCHES:
            output = run(torch.zeros(batch, *shape))[0]
            if len(output) != batch or not bool(output.isfinite().all()):
                raise UserError("the quantized network computes no finite numbers; export it without --quantize.")
        return contents

    with quiet():
        try:
            write_bytes(path, quantized())
        except (UserError, KeyboardInterrupt):
            raise
        except Exception as error:  # whatever the quantizer meets in the graph
            raise UserError(
                f"ONNX Runtime cannot quantize this network ({first_line(error)}); export it without --quantize."
            ) from error
    return path
