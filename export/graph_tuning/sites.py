"""The places of a graph that have more than one form, and the forms of each.

A site is one node, or two that belong together. All forms of a site compute the same to float32's accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from padinv.export.graph_tuning.fragment import Fragment
from padinv.export.graph_tuning.winograd import TILE, winograd, winograd_rows

if TYPE_CHECKING:
    import onnx

PLAIN = "plain"  # as the exporter wrote it
Build = Callable[[Fragment, list[str]], str]  # names of the inputs -> name of the output
_SMALLEST = 8  # px; below it a Winograd transform has nothing to save
_WORTH_TIMING = 1 << 16  # values; nothing that is done to fewer takes a time that matters
_SHAPES = 1024  # numbers; a tensor of more is a weight and not a shape


@dataclass(frozen=True)
class Site:
    """A place of a graph.

    Attributes:
        nodes: what stands there; the last one gives the output.
        inputs: names of the values that go in, and their shapes without the batch axis.
        forms: name -> how to build it.
        kind: what it is, with its sizes, for people; sites of the same kind are timed once.
    """

    nodes: tuple[onnx.NodeProto, ...] = field(repr=False)
    inputs: Mapping[str, tuple[int, ...]]
    forms: Mapping[str, Build] = field(repr=False)
    kind: str

    @property
    def name(self) -> str:
        """The name of its output, unique in the graph."""
        return str(self.nodes[-1].output[0])


class GraphView:
    """A graph with shapes and constants at hand."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper

        self.model = model
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._arrays = numpy_helper.to_array
        self.shapes = _shapes(model)
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        self.makers: dict[str, onnx.NodeProto] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
            for name in node.output:
                self.makers[name] = node
        self.results = {value.name for value in model.graph.output}

    def constant(self, name: str) -> np.ndarray | None:
        """The values of a stored tensor; None for anything else."""
        return self._arrays(self._tensors[name]) if name in self._tensors else None

    def dims(self, name: str) -> tuple[int, ...]:
        """Shape of a stored tensor without reading it; () for anything else."""
        return tuple(self._tensors[name].dims) if name in self._tensors else ()

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a value without its batch axis; None where it is unknown."""
        return self.shapes.get(name)


def find_sites(view: GraphView) -> Iterator[Site]:
    """Every place of a graph that has another form."""
    finders = {"Conv": (_to_rgb, _convolution), "Resize": (_resize,), "PRelu": (_prelu,)}
    for node in view.model.graph.node:
        for finder in finders.get(node.op_type, ()):
            site = finder(view, node)
            if site is not None:
                yield site
                break


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _convolution(view: GraphView, node: onnx.NodeProto) -> Site | None:
    """A 3 x 3 convolution of stride 1, whose output divides into tiles."""
    given, weight = view.shape(node.input[0]), view.dims(node.input[1])
    attributes = _attributes(node)
    pads = list(attributes.get("pads", [0] * 4))
    fits = (
        given is not None
        and len(given) == 3
        and len(weight) == 4
        and weight[2:] == (3, 3)
        and attributes.get("group", 1) == 1
        and list(attributes.get("strides", [1, 1])) == [1, 1]
        and list(attributes.get("dilations", [1, 1])) == [1, 1]
        and pads in ([0] * 4, [1] * 4)
        and not attributes.get("auto_pad", b"").startswith(b"SAME")
        and (len(node.input) < 3 or view.dims(node.input[2]) != ())
    )
    if not fits:
        return None
    assert given is not None
    channels, height, width = given
    size = height - 2 + 2 * pads[0]
    if height != width or size % TILE or size < _SMALLEST:
        return None

    def build(make: Callable[..., str], fragment: Fragment, inputs: list[str]) -> str:
        values, bias = view.constant(node.input[1]), None
        assert values is not None
        if len(node.input) > 2:
            bias = view.constant(node.input[2])
        return make(fragment, inputs[0], values.astype(np.float64), bias, size, pads[0])

    forms: dict[str, Build] = {
        "winograd": partial(build, partial(winograd, grouped=False)),
        "winograd, grouped": partial(build, partial(winograd, grouped=True)),
        "winograd, rows": partial(build, winograd_rows),
    }
    ring = ", ring around it" if pads[0] == 0 else ""
    kind = f"3 x 3 convolution, {channels} to {weight[0]} channels, {size} px{ring}"
    return Site((node,), {node.input[0]: given}, forms, kind)


def _resize(view: GraphView, node: onnx.NodeProto) -> Site | None:
    """A resampling of constant sizes: one matrix for rows and one for columns."""
    given, made = view.shape(node.input[0]), view.shape(node.output[0])
    if given is None or made is None or len(given) != 3 or len(made) != 3 or given[0] != made[0]:
        return None
    if np.prod(made) < _WORTH_TIMING:
        return None
    attributes = _attributes(node)
    if attributes.get("mode", b"nearest") not in (b"linear", b"cubic") or attributes.get("exclude_outside", 0):
        return None

    def build(fragment: Fragment, inputs: list[str]) -> str:
        rows = resampling(attributes, given[1], made[1], view.model.opset_import[0].version)
        columns = resampling(attributes, given[2], made[2], view.model.opset_import[0].version)
        wide = fragment.node("MatMul", inputs[0], fragment.constant("columns", columns.T))
        return fragment.node("MatMul", fragment.constant("rows", rows), wide)

    mode = attributes["mode"].decode()
    kind = f"{mode} resampling, {given[0]} channels, {given[1]} to {made[1]} px"
    return Site((node,), {node.input[0]: given}, {"matrices": build}, kind)


def resampling(attributes: Mapping[str, Any], before: int, after: int, opset: int) -> np.ndarray:
    """The matrix [after, before] of a one-dimensional Resize, read off onnxruntime's answer to unit vectors."""
    from onnx import TensorProto, helper, numpy_helper

    from padinv.runtime.backends.onnxruntime_session import import_onnxruntime

    kept = {name: value for name, value in attributes.items() if name != "axes"}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **kept)
    sizes = numpy_helper.from_array(np.array([1, 1, after, before], np.int64), "sizes")
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, before, before])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, after, before])],
        [sizes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    session = import_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    unit = np.eye(before, dtype=np.float32)[None, None]
    result: np.ndarray = session.run(None, {"x": unit})[0][0, 0]
    return result.astype(np.float64)


def _prelu(view: GraphView, node: onnx.NodeProto) -> Site | None:
    """PReLU with slopes of at most 1: the larger of x and slope * x."""
    given, slope = view.shape(node.input[0]), view.constant(node.input[1])
    if (
        given is None
        or slope is None
        or len(given) != 3
        or slope.size != given[0]
        or slope.max() > 1
        or np.prod(given) < _WORTH_TIMING
    ):
        return None

    def larger(fragment: Fragment, inputs: list[str]) -> str:
        scaled = fragment.node("Mul", inputs[0], fragment.constant("slope", slope.reshape(-1, 1, 1)))
        return fragment.node("Max", inputs[0], scaled)

    def depthwise(fragment: Fragment, inputs: list[str]) -> str:
        # relu((1 - a) x) + a x; onnxruntime runs depthwise convolutions in its blocked layout.
        channels, flat = given[0], slope.reshape(-1, 1, 1, 1)

        def scaled(label: str, factor: np.ndarray) -> str:
            kernel = fragment.constant(label, factor)
            return fragment.node("Conv", inputs[0], kernel, kernel_shape=[1, 1], group=channels)

        return fragment.node("Add", fragment.node("Relu", scaled("rest", 1 - flat)), scaled("slope", flat))

    kind = f"PReLU, {given[0]} channels, {given[1]} px"
    return Site((node,), {node.input[0]: given}, {"maximum": larger, "depthwise": depthwise}, kind)


def _to_rgb(view: GraphView, node: onnx.NodeProto) -> Site | None:
    """A 1 x 1 convolution to a few channels of a map that a style has scaled: scale the few weights instead."""
    weight, scaling = view.dims(node.input[1]), view.makers.get(node.input[0])
    if len(weight) != 4 or weight[0] > 4 or weight[2:] != (1, 1) or scaling is None or scaling.op_type != "Mul":
        return None
    if len(view.readers[node.input[0]]) != 1 or node.input[0] in view.results or len(node.input) > 2:
        return None
    shapes = [view.shape(name) for name in scaling.input]
    order = [k for k, shape in enumerate(shapes) if shape is not None and shape[1:] == (1, 1)]
    if len(order) != 1 or any(shape is None or len(shape) != 3 for shape in shapes):
        return None
    style, feature = scaling.input[order[0]], scaling.input[1 - order[0]]
    given = shapes[1 - order[0]]
    assert given is not None
    channels, height, width = given
    if np.prod(given) < _WORTH_TIMING:
        return None

    def build(fragment: Fragment, inputs: list[str]) -> str:
        values = view.constant(node.input[1])
        assert values is not None
        scale = fragment.reshape(inputs[1], -1, 1, channels)
        weights = fragment.node("Mul", scale, fragment.constant("weight", values[None, :, :, 0, 0]))
        flat = fragment.reshape(inputs[0], -1, channels, height * width)
        return fragment.reshape(fragment.node("MatMul", weights, flat), -1, weight[0], height, width)

    kind = f"style and 1 x 1 convolution, {channels} to {weight[0]} channels, {height} px"
    return Site((scaling, node), {feature: given, style: (channels, 1, 1)}, {"scaled weights": build}, kind)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes without the batch axis, of the values whose other sizes are all known."""
    import onnx

    # Inference needs the values of shapes only, and would copy whatever weights it is given.
    small = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) <= _SHAPES]
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) > _SHAPES]
    inputs = [onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in large]
    graph = onnx.helper.make_graph(
        model.graph.node, "shapes", [*model.graph.input, *inputs], model.graph.output, initializer=small
    )
    light = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    typed = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    found = {}
    for value in (*typed.input, *typed.output, *typed.value_info):
        dims = value.type.tensor_type.shape.dim
        sizes = tuple(d.dim_value for d in dims)[1:]
        if dims and all(sizes):
            found[value.name] = sizes
    return found
