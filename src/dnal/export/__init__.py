"""A network as a standard file that runs without dnal: ONNX, or a torch.export program.

The batch is free, and so are height, width and length where the network allows; everything else is as in the example.
Every file is checked against the network before it takes its place, and says inside what it holds.
"""

from dnal.export.format import Format
from dnal.export.formats import FORMATS, format_of
from dnal.export.huggingface import FOLDER, export_folder
from dnal.export.int8 import quantize_onnx
from dnal.export.of_run import Quantized, default_file, export_run, quantize_run
from dnal.export.writing import BATCHES, TOLERANCE, Exported, export, to_onnx, to_pt2

__all__ = [
    "BATCHES",
    "FOLDER",
    "FORMATS",
    "TOLERANCE",
    "Exported",
    "Format",
    "Quantized",
    "default_file",
    "export",
    "export_folder",
    "export_run",
    "format_of",
    "quantize_onnx",
    "quantize_run",
    "to_onnx",
    "to_pt2",
]
