"""torch module -> ONNX model, with one dynamic batch axis and no trace of the machine that made it."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from padinv.export.graph_table import BATCH_AXIS, Graph
from padinv.runtime.errors import MissingPackageError, UsageError

if TYPE_CHECKING:
    import onnx

DEFAULT_OPSET = 18
OPSETS = range(17, 22)

# The first torch whose torch.export-based exporter takes these networks; before it, tracing does.
_DYNAMO_SINCE = (2, 9)
# Oldest ONNX format version that carries an opset: the file then loads in the oldest runtimes that can run it.
_IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


def require_packages() -> None:
    """Check that what an export needs is installed.

    Raises:
        MissingPackageError: it is not.
    """
    for package in ("onnx", "onnxscript"):
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            raise MissingPackageError(package, "export", "an export to ONNX") from error


def use_dynamo() -> bool:
    """Whether this torch exports through torch.export ('dynamo') rather than by tracing."""
    numbers = re.match(r"(\d+)\.(\d+)", torch.__version__)
    assert numbers is not None
    return tuple(map(int, numbers.groups())) >= _DYNAMO_SINCE


def to_onnx(module: nn.Module, graph: Graph, opset: int = DEFAULT_OPSET, dynamo: bool | None = None) -> onnx.ModelProto:
    """Export a module.

    Args:
        module: takes the graph's inputs in order, gives its outputs in order.
        graph: names and shapes.
        opset: of the default ONNX domain, 17 to 21.
        dynamo: which of torch's exporters; None: the newer one where it is good enough.

    Raises:
        MissingPackageError: onnx or onnxscript is not installed. UsageError: the opset cannot be had.
    """
    require_packages()
    if opset not in OPSETS:
        raise UsageError(f"opset must be {OPSETS[0]} to {OPSETS[-1]}, not {opset}")
    dynamo = use_dynamo() if dynamo is None else dynamo
    with torch.no_grad(), warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        model = _dynamo(module, graph, opset) if dynamo else _trace(module, graph, opset)
    _rename(model, graph)
    model = _optimize(model)
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found.get("", opset) != opset:
        raise UsageError(
            f"this torch ({torch.__version__}) wrote opset {found['']} where {opset} was asked for, so nothing was "
            f"exported; take --opset {found['']}"
        )
    return anonymous(model, opset)


def quiet_dynamo(module: nn.Module, graph: Graph, opset: int) -> onnx.ModelProto:
    """torch.export's graph of a module as it comes, parameters by name and nothing folded."""
    with torch.no_grad(), warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        return _dynamo(module, graph, opset, optimize=False)


def _dynamo(module: nn.Module, graph: Graph, opset: int, optimize: bool = True) -> onnx.ModelProto:
    batch = torch.export.Dim(BATCH_AXIS)
    values = tuple(graph.example().values())
    args = graph.arguments(values)
    axes = graph.arguments(({0: batch},) * len(values))
    program = torch.onnx.export(
        module,
        args,
        dynamo=True,
        dynamic_shapes=axes,
        opset_version=opset,
        optimize=optimize,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _trace(module: nn.Module, graph: Graph, opset: int) -> onnx.ModelProto:
    import onnx

    with TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module,
            graph.arguments(tuple(graph.example().values())),
            file,
            dynamo=False,
            input_names=[f"in.{name}" for name in graph.inputs],
            output_names=[f"out.{name}" for name in graph.outputs],
            dynamic_axes=_own_names(graph),
            opset_version=opset,
        )
        return onnx.load(file)


def _own_names(graph: Graph) -> dict[str, dict[int, str]]:
    """`graph.dynamic_axes` under the names that tracing gives inputs and outputs at first."""
    inputs = {f"in.{name}": graph.dynamic_axes[name] for name in graph.inputs}
    return inputs | {f"out.{name}": graph.dynamic_axes[name] for name in graph.outputs}


def _rename(model: onnx.ModelProto, graph: Graph) -> None:
    """Give inputs and outputs their names and shapes, in place.

    The exporters could do it, but then an input called `pad_4` meets the output of the fifth padding operator, which
    they call by the same name.
    """
    ports = [*zip(model.graph.input, graph.inputs, strict=True), *zip(model.graph.output, graph.outputs, strict=True)]
    names = {port.name: name for port, name in ports}
    taken = set(names.values())

    def new(name: str) -> str:
        return names.get(name) or (f"{name}.inner" if name in taken else name)

    for node in model.graph.node:
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        value.name = new(value.name)
    # Tracing loses some sizes of outputs; the checker compares what is stated here with what it can infer.
    for port in (*model.graph.input, *model.graph.output):
        sizes = (BATCH_AXIS, *(graph.inputs | graph.outputs)[port.name])
        del port.type.tensor_type.shape.dim[:]
        for size in sizes:
            dim = port.type.tensor_type.shape.dim.add()
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size


def _optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold what is constant and drop what does nothing."""
    from onnxscript import optimizer

    return optimizer.optimize(model)


def anonymous(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Drop stack traces, paths and notes that exporters leave in a model, and custom domains that nothing uses."""
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used or entry.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.ir_version = _IR_VERSIONS[opset]
    model.producer_name, model.producer_version, model.doc_string = "padinv", "", ""
    del model.metadata_props[:]
    holders: list[Any] = [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer]
    for holder in [*holders, *model.graph.input, *model.graph.output]:
        holder.doc_string = ""
        if hasattr(holder, "metadata_props"):
            del holder.metadata_props[:]
    del model.graph.value_info[:]
    return model


class _quiet:
    """Silences the exporters' loggers (missing torchvision, deprecation notes) while they run."""

    NAMES = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")

    def __enter__(self) -> None:
        self.levels = {name: logging.getLogger(name).level for name in self.NAMES}
        for name in self.NAMES:
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def __exit__(self, *error: object) -> None:
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)
