"""The last step of a float16 graph: averages over whole feature maps are summed in float32.

A 128 x 128 map of values around 10 already sums to more than float16 can hold, and a runtime may sum in the type that
the graph states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_SUMS = ("ReduceMean", "ReduceSum", "GlobalAveragePool")


def widen_sums(model: onnx.ModelProto) -> int:
    """Put casts around every reduction of float16 data, in place; returns how many there were."""
    import onnx
    from onnx import TensorProto, helper

    typed = onnx.shape_inference.infer_shapes(model).graph
    values = [*typed.value_info, *typed.input, *typed.output]
    half = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    nodes, count = [], 0
    for node in model.graph.node:
        if node.op_type not in _SUMS or node.input[0] not in half:
            nodes.append(node)
            continue
        count += 1
        wide_in, wide_out = f"{node.input[0]}.wide{count}", f"{node.output[0]}.wide"
        narrow = node.output[0]
        nodes.append(helper.make_node("Cast", [node.input[0]], [wide_in], to=TensorProto.FLOAT))
        node.input[0], node.output[0] = wide_in, wide_out
        nodes.append(node)
        nodes.append(helper.make_node("Cast", [wide_out], [narrow], to=TensorProto.FLOAT16))
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return count
