"""Float operations of a graph for one image: two for each multiplication of convolutions and matrix products."""

from __future__ import annotations

import math
from typing import Any

from padinv.runtime.bundle import Bundle


def graph_gflop(bundle: Bundle, graph: str) -> float | None:
    """GFLOP of one image through a graph; None where the package 'onnx' is not installed, or cannot infer its shapes.

    Raises:
        BundleError: the graph is missing or damaged.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        return None
    model = onnx.load_from_string(bundle.read_bytes(f"{graph}.onnx"))
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in model.graph.output:
        value.type.tensor_type.shape.dim[0].Clear()
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        shapes.setdefault(value.name, [d.dim_value for d in value.type.tensor_type.shape.dim])
    total = sum(_node(node, shapes) for node in inferred.node)
    return total / 1e9 if math.isfinite(total) else None


def _known(shape: list[int]) -> list[int]:
    """A shape whose batch axis could not be inferred has one row."""
    return [shape[0] or 1, *shape[1:]] if shape else []


def _node(node: Any, shapes: dict[str, list[int]]) -> float:
    """Operations of one node; infinite where a shape it needs is unknown."""
    if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return 0.0
    a, b, out = (_known(shapes.get(name, [])) for name in (node.input[0], node.input[1], node.output[0]))
    if not a or not b or not out or 0 in (*a, *b, *out):
        return math.inf
    if node.op_type == "Conv":  # weight [C_out, C_in / groups, k, k]
        return 2.0 * math.prod(out) * math.prod(b[1:])
    if node.op_type == "ConvTranspose":  # weight [C_in, C_out / groups, k, k]
        return 2.0 * math.prod(a) * math.prod(b[1:])
    inner = a[-1]
    if node.op_type == "Gemm" and any(attribute.name == "transA" and attribute.i for attribute in node.attribute):
        inner = a[0]
    return 2.0 * math.prod(out) * inner
