"""One layer as an ONNX model of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnal.latency.layers import Layer

OPSET = 17
IR_VERSION = 8

Graph = tuple[bytes, dict[str, Any], tuple[str, ...]]
"""The model, its inputs, and how the names of the operators end that do the layer's work."""

POINTWISE = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "add": "Add", "mul": "Mul", "sub": "Sub", "div": "Div",
    "hardswish": "HardSwish", "hardsigmoid": "HardSigmoid", "hardtanh": "Clip", "clamp": "Clip", "bmm": "MatMul",
}  # fmt: skip


def graph_of(layer: Layer, shapes: Sequence[tuple[int, ...]]) -> Graph | None:
    """The layer on inputs of these shapes; None for a kind that is not written here."""
    from onnx import TensorProto, helper

    if any(size != 4 for size in layer.itemsizes):
        return None
    built = _nodes(layer, shapes)
    if built is None:
        return None
    nodes, values, constants, operators = built
    draw = np.random.default_rng(0)
    feed = {name: draw.random(shape, dtype=np.float32) for name, shape in values.items()}
    from onnx import numpy_helper

    weights = [
        numpy_helper.from_array(
            np.asarray(value, dtype=np.float32) if isinstance(value, float) else draw.random(value, dtype=np.float32),
            name,
        )
        for name, value in constants.items()
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model.SerializeToString(), feed, operators


def _nodes(layer: Layer, shapes: Sequence[tuple[int, ...]]) -> Any:
    """Nodes, shapes of the inputs, constants (shapes of weights, or numbers), operators; None if unknown."""
    from onnx import helper

    name, arguments = layer.operation.rstrip("_"), layer.at(shapes)
    if layer.kind in ("convolution", "depthwise"):
        _, _, _, stride, padding, dilation, transposed, output_padding, groups = arguments
        weight = shapes[1]
        channels = weight[1] * groups if transposed else weight[0]
        extra = {"output_padding": output_padding} if transposed else {}
        nodes = [
            helper.make_node(
                "ConvTranspose" if transposed else "Conv",
                ["in", "weight", "bias"],
                ["out" if layer.activation is None else "sum"],
                kernel_shape=weight[2:],
                strides=stride,
                pads=[*padding, *padding],
                dilations=dilation,
                group=groups,
                **extra,
            )
        ]
        constants: dict[str, Any] = {"weight": weight, "bias": (channels,)}
        if layer.activation is not None:
            nodes += _activation("sum", layer.activation, constants)
        return nodes, {"in": shapes[0]}, constants, ("Conv", "ConvTranspose", *_ends(layer.activation))
    if layer.kind == "linear":
        weight = shapes[-1]
        node = helper.make_node("Gemm", ["in", "weight", "bias"], ["out"])
        return [node], {"in": shapes[-2]}, {"weight": weight, "bias": (weight[1],)}, ("Gemm",)
    if name in ("max_pool2d_with_indices", "avg_pool2d"):
        kernel, stride, padding = ([*arguments[1:4], (), (), ()])[:3]
        node = helper.make_node(
            "MaxPool" if name.startswith("max") else "AveragePool",
            ["in"],
            ["out"],
            kernel_shape=kernel,
            strides=stride or kernel,
            pads=[*(padding or (0, 0)), *(padding or (0, 0))] if isinstance(padding, (tuple, list)) else [0] * 4,
        )
        return [node], {"in": shapes[0]}, {}, ("Pool",)
    if name == "mean" and len(shapes[0]) == 4 and set(arguments[1]) == {-1, -2}:
        return [helper.make_node("GlobalAveragePool", ["in"], ["out"])], {"in": shapes[0]}, {}, ("Pool",)
    if name == "native_batch_norm":
        node = helper.make_node("BatchNormalization", ["in", "scale", "bias", "mean", "var"], ["out"])
        size = (shapes[0][1],)
        return [node], {"in": shapes[0]}, dict.fromkeys(("scale", "bias", "mean", "var"), size), ("Normalization",)
    if name == "native_layer_norm" and len(shapes) == 3:
        node = helper.make_node("LayerNormalization", ["in", "scale", "bias"], ["out"], axis=-len(shapes[1]))
        return [node], {"in": shapes[0]}, {"scale": shapes[1], "bias": shapes[2]}, ("Normalization",)
    if name == "_softmax":
        node = helper.make_node("Softmax", ["in"], ["out"], axis=arguments[1])
        return [node], {"in": shapes[0]}, {}, ("Softmax",)
    if name in POINTWISE:
        names = [f"in{number}" for number in range(len(shapes))]
        constants = {}
        if POINTWISE[name] == "Clip":
            nodes = _activation("in0", (name, *arguments[1:]), constants)
        else:
            extra_names = []
            if len(names) == 1 and len(arguments) > 1 and isinstance(arguments[1], (int, float)):
                constants["number"] = float(arguments[1])
                extra_names = ["number"]
            nodes = [helper.make_node(POINTWISE[name], [*names, *extra_names], ["out"])]
        return nodes, dict(zip(names, shapes, strict=True)), constants, (POINTWISE[name],)
    return None


def _activation(value: str, activation: Sequence[Any], constants: dict[str, Any]) -> list[Any]:
    from onnx import helper

    name, *bounds = activation
    if name == "relu":
        return [helper.make_node("Relu", [value], ["out"])]
    low, high = (*bounds, None, None)[:2]
    names = []
    for key, bound in (("low", low), ("high", high)):
        names.append(key if bound is not None else "")
        if bound is not None:
            constants[key] = float(bound)
    return [helper.make_node("Clip", [value, *names], ["out"])]


def _ends(activation: Sequence[Any] | None) -> tuple[str, ...]:
    """An activation that the runtime did not fuse runs behind the convolution."""
    if activation is None:
        return ()
    return ("Relu",) if activation[0] == "relu" else ("Clip",)
