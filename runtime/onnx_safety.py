"""Refuses ONNX graphs that hold more than padinv's exporter writes, before any runtime sees them.

onnxruntime reads "external data" from files that a graph names, relative to the working directory if the graph comes
from memory. A bundle from a stranger could so copy private files into its results. This module walks the protobuf
message itself (about ten kinds of message, no recursion, bounded work), because the runtime must not need `onnx`. It
works by allowed fields: what is not known to be harmless is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from padinv.runtime.errors import BundleError

MAX_PARTS = 2_000_000
"""Fields that are looked at; the largest graph of padinv has about 30,000."""

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
SEQUENCES = frozenset(
    {"SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceAt", "SequenceLength"}
    | {"SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement"}
)
FORBIDDEN_OPERATORS = CONTROL_FLOW | RANDOM | SEQUENCES
DOMAINS = frozenset({"", "ai.onnx"})

_VARINT, _BYTES = 0, 2
_FIXED = {1: 8, 5: 4}
_INVALID = "is not a valid ONNX graph"

# Field numbers of onnx.proto: what may be in a message, and what a reader sees when a field is refused.
_MODEL = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14})
_GRAPH = frozenset({1, 2, 5, 10, 11, 12, 13, 14, 16})
_NODE = frozenset({1, 2, 3, 4, 5, 6, 7, 9})
_ATTRIBUTE = frozenset({1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 20})
_TENSOR = frozenset({1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16})
_REASONS = {
    "model": {20: "training information", 25: "local functions", 26: "a device configuration"},
    "graph": {15: "sparse initializers"},
    "node": {8: "an operator overload", 10: "a device configuration"},
    "attribute": {
        6: "a subgraph (control flow)",
        11: "subgraphs (control flow)",
        14: "a type attribute",
        15: "type attributes",
        21: "an attribute of a local function",
        22: "a sparse tensor",
        23: "sparse tensors",
    },
    "tensor": {3: "a segmented tensor", 13: "external data: weights that lie in another file"},
}


class UnsafeGraph(ValueError):
    """What a graph holds that it must not hold."""


def require_safe_graph(data: bytes, name: str) -> None:
    """Check that an ONNX file is self-contained and holds only what padinv's exporter writes.

    Args:
        data: the whole file. name: stands in the message.

    Raises:
        BundleError: it is not an ONNX graph, or it holds external data, a subgraph, a local function, a sparse tensor,
            an operator of another domain, control flow or randomness.
    """
    try:
        GraphWalk(data).model()
    except UnsafeGraph as error:
        raise BundleError(
            f"{name} {error}, so the model was not loaded; padinv never exports such a graph: use a bundle you trust"
        ) from error


class GraphWalk:
    """One file, walked message by message. A field is (number, wire type, value or start of its bytes, its end)."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.parts = 0

    def fields(
        self, message: str, start: int, end: int, allowed: frozenset[int]
    ) -> Iterator[tuple[int, int, int, int]]:
        data = self.data
        while start < end:
            self.parts += 1
            if self.parts > MAX_PARTS:
                raise UnsafeGraph(f"holds more than {MAX_PARTS} parts")
            tag = data[start]
            start += 1
            if tag > 0x7F:
                tag, start = self.varint(start - 1, end)
            number, kind = tag >> 3, tag & 7
            if number not in allowed:
                what = _REASONS[message].get(number)
                raise UnsafeGraph(f"holds {what}" if what else f"{_INVALID} (unknown {message} field {number})")
            value = start
            # Nearly all lengths and numbers take one byte; a call for each would take most of the time.
            if kind == _BYTES:
                if start < end and (length := data[start]) <= 0x7F:
                    value = start + 1
                else:
                    length, value = self.varint(start, end)
                start = value + length
            elif kind == _VARINT:
                if start < end and (value := data[start]) <= 0x7F:
                    start += 1
                else:
                    value, start = self.varint(start, end)
            elif kind in _FIXED:
                start += _FIXED[kind]
            else:  # groups, which no version of ONNX has
                raise UnsafeGraph(_INVALID)
            if start > end:
                raise UnsafeGraph(_INVALID)
            yield number, kind, value, start

    def varint(self, start: int, end: int) -> tuple[int, int]:
        """A number and where it ends."""
        value = shift = 0
        for i in range(start, min(start + 10, end)):
            byte = self.data[i]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, i + 1
            shift += 7
        raise UnsafeGraph(_INVALID)

    def text(self, start: int, end: int) -> str:
        return self.data[start:end].decode("utf-8", "replace")

    def model(self) -> None:
        graphs = 0
        for number, kind, start, end in self.fields("model", 0, len(self.data), _MODEL):
            if number == 7 and kind == _BYTES:
                graphs += 1
                self.graph(start, end)
        if graphs != 1:
            raise UnsafeGraph(_INVALID if not graphs else "holds several graphs")

    def graph(self, start: int, end: int) -> None:
        for number, kind, first, last in self.fields("graph", start, end, _GRAPH):
            if kind == _BYTES and number == 1:
                self.node(first, last)
            elif kind == _BYTES and number == 5:
                self.tensor(first, last)

    def node(self, start: int, end: int) -> None:
        for number, kind, first, last in self.fields("node", start, end, _NODE):
            if kind != _BYTES:
                continue
            if number == 4 and (operator := self.text(first, last)) in FORBIDDEN_OPERATORS:
                what = "control flow" if operator in CONTROL_FLOW else "an operator that no exported graph has"
                raise UnsafeGraph(f"holds {what} ({operator})")
            if number == 7 and (domain := self.text(first, last)) not in DOMAINS:
                raise UnsafeGraph(f"holds an operator of the domain {domain[:80]!r}")
            if number == 5:
                self.attribute(first, last)

    def attribute(self, start: int, end: int) -> None:
        for number, kind, first, last in self.fields("attribute", start, end, _ATTRIBUTE):
            if kind == _BYTES and number in (5, 10):
                self.tensor(first, last)

    def tensor(self, start: int, end: int) -> None:
        for number, kind, value, _ in self.fields("tensor", start, end, _TENSOR):
            if number == 14 and (kind != _VARINT or value):
                raise UnsafeGraph(f"holds {_REASONS['tensor'][13]}")
