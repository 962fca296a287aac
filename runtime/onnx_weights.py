"""Named weights out of an ONNX graph, without the package `onnx`: a compact bundle's graphs hold the raw ones."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from padinv.runtime.onnx_safety import GraphWalk, UnsafeGraph

_FLOAT, _HALF = 1, 10  # onnx.TensorProto.DataType
_TYPES: dict[int, np.dtype[Any]] = {_FLOAT: np.dtype("<f4"), _HALF: np.dtype("<f2")}
_DIMS, _DATA_TYPE, _NAME, _RAW = 1, 2, 8, 9  # fields of onnx.TensorProto
_MESSAGE_FIELDS = frozenset(range(1, 17))


def read_weights(data: bytes, names: Collection[str]) -> dict[str, np.ndarray]:
    """The initializers of these names, as float32; those that the graph does not hold are left out.

    Args:
        data: a whole ONNX file, which `require_safe_graph` accepted.

    Raises:
        ValueError: it is not an ONNX graph, or a wanted tensor is not of float32 or float16 in raw bytes.
    """
    walk = _Weights(data, names)
    walk.model()
    return walk.found


class _Weights(GraphWalk):
    """Keeps the tensors that are wanted on the way."""

    def __init__(self, data: bytes, names: Collection[str]) -> None:
        super().__init__(data)
        self.names = frozenset(names)
        self.found: dict[str, np.ndarray] = {}

    def tensor(self, start: int, end: int) -> None:
        name, kind, raw = "", 0, b""
        dims: list[int] = []
        for number, wire, value, last in self.fields("tensor", start, end, _MESSAGE_FIELDS):
            if number == _NAME:
                name = self.text(value, last)
                if name not in self.names:
                    return
            elif number == _DATA_TYPE:
                kind = value
            elif number == _DIMS:
                dims += [value] if wire == 0 else self._packed(value, last)
            elif number == _RAW:
                raw = self.data[value:last]
        if name in self.names:
            self.found[name] = self._array(name, kind, dims, raw)

    def _packed(self, start: int, end: int) -> list[int]:
        values = []
        while start < end:
            value, start = self.varint(start, end)
            values.append(value)
        return values

    def _array(self, name: str, kind: int, dims: list[int], raw: bytes) -> np.ndarray:
        dtype = _TYPES.get(kind)
        if dtype is None or len(dims) > 8 or math.prod(dims) * dtype.itemsize != len(raw):
            raise UnsafeGraph(f"holds {name[:80]!r} in a form that padinv does not write")
        return np.frombuffer(raw, dtype).reshape(dims).astype(np.float32)
