"""Compact graphs: a bundle at half the size that is itself a checkpoint.

The graph of a compact bundle is the network as it is trained: raw weights under the names of the state dict, with
their gains, sums and batch normalisation as operators, which a runtime folds when it loads the graph. A tensor whose
values are exactly float16 is stored as float16 with a cast to float32 behind it; nothing is lost, because the weights
are rounded to float16 before anything is computed from them, and torch and ONNX run the same ones.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from padinv.export.graph_table import Graph
from padinv.export.onnx_export import DEFAULT_OPSET, anonymous, quiet_dynamo, require_packages, use_dynamo
from padinv.export.onnx_modules import complete, rings_and_spatial
from padinv.models.encoder import Encoder
from padinv.models.generator import Generator
from padinv.runtime.errors import UsageError
from padinv.runtime.spec import ModelSpec

if TYPE_CHECKING:
    import onnx

Network = TypeVar("Network", bound=nn.Module)

SMALLEST = 1024  # elements; below it a tensor keeps float32


def rounded(module: Network) -> Network:
    """A copy of a network with its large tensors rounded to float16's values, in float32."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point() and tensor.numel() >= SMALLEST:
                tensor.copy_(tensor.half().float())
    return module


class CompactEncoder(nn.Module):
    """image (and error) -> wp, const, pad_4, pad_8, ...; parameters are called `encoder.*`."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor, error: Tensor | None = None) -> tuple[Tensor, ...]:
        wp, const, rings = self.encoder(image, error)
        return (wp, *complete(self.encoder.spec, self.encoder.const, wp, const, rings))


class CompactGenerator(nn.Module):
    """wp, const, pad_4, pad_8, ..., spatial_r -> output; parameters are called `generator.*`."""

    def __init__(self, generator: Generator, spec: ModelSpec | None = None) -> None:
        super().__init__()
        self.generator = generator
        self.spec = spec or generator.spec

    def forward(self, wp: Tensor, const: Tensor, form: tuple[Tensor, ...]) -> Tensor:
        rings, spatial = rings_and_spatial(self.spec, form)
        return self.generator.synthesis(wp, const, rings, spatial=spatial)


class CompactSpatial(nn.Module):
    """image, reconstruction -> spatial_r, ...; parameters are called `encoder.spatial.*`."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor, reconstruction: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encoder.spatial_code(image, reconstruction).values())


class CompactMapping(nn.Module):
    """z -> w; parameters are called `generator.mapping_network.*`."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor) -> Tensor:
        result: Tensor = self.generator.mapping_network(z)
        return result


def to_compact_onnx(module: nn.Module, graph: Graph, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
    """Export a module with its parameters kept by name.

    Raises:
        MissingPackageError: onnx or onnxscript is not installed. UsageError: this torch is too old.
    """
    require_packages()
    if not use_dynamo():
        raise UsageError(
            f"compact graphs need torch 2.9 or newer, and this is {torch.__version__}; leave out --compact"
        )
    model = quiet_dynamo(module.eval().requires_grad_(False), graph, opset)
    _name_values(model, graph)
    _tidy(model)
    _halve(model)
    return anonymous(model, opset)


def _name_values(model: onnx.ModelProto, graph: Graph) -> None:
    """Give inputs and outputs the graph's names: the exporter does so in its optimiser, which has not run."""
    names = {value.name: wanted for value, wanted in zip(model.graph.output, graph.outputs, strict=True)}
    names |= {value.name: wanted for value, wanted in zip(model.graph.input, graph.inputs, strict=True)}
    # An exporter numbers its operators, and the fifth padding operator's value is called like an input of ours.
    wanted_names = {*graph.inputs, *graph.outputs}
    inner = {name for node in model.graph.node for name in node.output} - set(names)
    names |= {name: f"{name}.inner" for name in inner & wanted_names}
    for node in model.graph.node:
        for values in (node.input, node.output):
            for index, name in enumerate(values):
                values[index] = names.get(name, name)
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]


def _tidy(model: onnx.ModelProto) -> None:
    """Fold shape arithmetic and drop what does nothing, without touching anything that depends on a parameter."""
    import onnx
    from onnxscript import optimizer

    parameters = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    names = {tensor.name for tensor in parameters}
    others = [tensor for tensor in model.graph.initializer if tensor.name not in names]
    inputs = list(model.graph.input)
    # A parameter that is a graph input for the moment is not a constant, so nothing is folded into it.
    del model.graph.initializer[:]
    model.graph.initializer.extend(others)
    for tensor in parameters:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(tensor for tensor in parameters if tensor.name in used)


def _halve(model: onnx.ModelProto) -> None:
    """Store float32 tensors whose values float16 holds exactly as float16, with a cast."""
    import onnx
    from onnx import numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.size < SMALLEST or not np.array_equal(half.astype(np.float32), values):
            continue
        wide = f"{tensor.name}.float32"
        for node in model.graph.node:
            for index, name in enumerate(node.input):
                if name == tensor.name:
                    node.input[index] = wide
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [wide], to=onnx.TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
