"""A piece of an ONNX graph under construction: nodes, constants, and names that meet nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx


@dataclass
class Fragment:
    """Nodes and constants that replace others.

    Attributes:
        prefix: begins every new name.
    """

    prefix: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def constant(self, label: str, value: Any) -> str:
        """Add a constant, int64 or float32; returns its name."""
        array = np.asarray(value)
        name = f"{self.prefix}.{label}"
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        self.constants[name] = np.ascontiguousarray(array, kind)
        return name

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        from onnx import helper

        name = output or f"{self.prefix}.{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, list(inputs), [name], name=f"{self.prefix}.n{len(self.nodes)}", **attributes)
        )
        return name

    def reshape(self, value: str, *shape: int, output: str | None = None) -> str:
        """Reshape to a shape in which -1 may stand once."""
        return self.node("Reshape", value, self.constant(f"shape{len(self.nodes)}", np.array(shape)), output=output)
