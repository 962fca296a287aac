"""What a graph of a bundle must and must not hold, checked by walking it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from padinv.export.graph_table import BATCH_AXIS, Graph
from padinv.runtime.errors import BundleError, ExportError
from padinv.runtime.onnx_safety import DOMAINS, FORBIDDEN_OPERATORS, require_safe_graph

if TYPE_CHECKING:
    import onnx

CONVOLUTIONS = ("Conv", "ConvTranspose")


def audit(
    model: onnx.ModelProto, graph: Graph, half: bool = False, compact: bool = False, folded: bool = False
) -> None:
    """Check a graph against the design.

    ONNX's own checker with full shape inference; the names, element types and shapes of inputs and outputs; one dynamic
    axis; no custom operator, no randomness, no control flow, no float64; every convolution's weights are stored in the
    graph, and in the asked precision. In a compact graph, and in one that is to be folded, they may be computed from
    stored tensors alone, which a runtime does when it loads the graph; in a compact one float16 may be stored.

    Raises:
        ExportError: something is otherwise; nothing was written.
    """
    import onnx
    from onnx import TensorProto

    def refuse(what: str) -> None:
        raise ExportError(f"the {graph.name} graph {what}, so nothing was written; please report it")

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        refuse(f"does not pass ONNX's checker ({' '.join(str(error).split())[:200]})")
    for kind, values, wanted in (
        ("input", model.graph.input, graph.inputs),
        ("output", model.graph.output, graph.outputs),
    ):
        if [value.name for value in values] != list(wanted):
            refuse(f"has the {kind}s {[value.name for value in values]}, not {list(wanted)}")
        for value in values:
            tensor = value.type.tensor_type
            dims = tuple(d.dim_param or d.dim_value for d in tensor.shape.dim)
            if tensor.elem_type != TensorProto.FLOAT or dims != (BATCH_AXIS, *wanted[value.name]):
                refuse(f"has the {kind} {value.name} of shape {dims}, not {(BATCH_AXIS, *wanted[value.name])}")
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    constant = set(stored)
    for node in model.graph.node:
        if all(name in constant for name in node.input if name):
            constant.update(node.output)
        if node.domain not in DOMAINS:
            refuse(f"holds the custom operator {node.domain}.{node.op_type}")
        if node.op_type in FORBIDDEN_OPERATORS:
            refuse(f"holds the operator {node.op_type}")
        if node.op_type in CONVOLUTIONS:
            weight = stored.get(node.input[1])
            if compact or folded:
                if node.input[1] not in constant:
                    refuse(f"has a {node.op_type} whose weights are computed at run time")
            elif weight is None:
                refuse(f"has a {node.op_type} whose weights are computed at run time")
            elif weight.data_type != (TensorProto.FLOAT16 if half else TensorProto.FLOAT):
                refuse(f"has a {node.op_type} whose weights are {TensorProto.DataType.Name(weight.data_type)}")
    types = {tensor.data_type for tensor in model.graph.initializer}
    if TensorProto.DOUBLE in types:
        refuse("holds float64 weights")
    if TensorProto.FLOAT16 in types and not (half or compact):
        refuse("holds float16 weights")
    try:
        require_safe_graph(model.SerializeToString(), f"the {graph.name} graph")
    except BundleError as error:  # what no padinv would load again
        raise ExportError(f"{error}; nothing was written; please report it") from error
