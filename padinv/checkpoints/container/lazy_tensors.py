"""Tensors that stay in their file until they are needed.

A checkpoint is never loaded whole: reading it yields names, shapes and byte ranges, and a range is copied into memory
when its tensor is asked for. A training file of a gigabyte therefore costs what its generator weighs.
"""

from __future__ import annotations

import math
import mmap
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ITEM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip
MAX_DIMENSIONS = 8


class Refused(Exception):
    """A file cannot be used, and why: a clause that follows the file's name. Turned into InputError at the border."""


class Source:
    """An open file: a memory map for the parser, plain reads for tensors.

    Pages that only the parser touches are few; tensors are read with `read_into`, so that the map never makes the whole
    file resident.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "rb")  # noqa: SIM115
        self.size = self._file.seek(0, 2)
        self.map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else None
        # Aliased tensors could make a small file fill the memory: together they may not exceed the file by much.
        self.read_budget = 2 * self.size + (16 << 20)

    def view(self, start: int = 0, length: int | None = None) -> memoryview:
        """Bytes [start, start + length) of the file, not copied."""
        length = self.size - start if length is None else length
        if start < 0 or length < 0 or start + length > self.size:
            raise Refused("is cut short")
        return memoryview(self.map)[start : start + length] if self.map is not None else memoryview(b"")

    def read_into(self, start: int, buffer: bytearray, charge: bool = True) -> None:
        """Fill `buffer` from the file, from byte `start` on; `charge` counts it against the budget."""
        self.read_budget -= len(buffer) if charge else 0
        if self.read_budget < 0:
            raise Refused("names the same weights again and again; no network is stored like that")
        self._file.seek(start)
        if self._file.readinto(buffer) != len(buffer):
            raise Refused("is cut short")

    def find_line_end(self, start: int, stop: int) -> int:
        """Position of the first line feed in [start, stop), or -1."""
        return -1 if self.map is None else self.map.find(b"\n", start, stop)

    def close(self) -> None:
        self._file.close()
        with suppress(BufferError):  # an error on its way up may still hold a view; the map then closes after it
            if self.map is not None:
                self.map.close()


class BytesSource(Source):
    """The same over bytes in memory: a torch file that a pickle spelled out."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size, self.map = data, len(data), None
        self.read_budget = 2 * self.size + (1 << 20)

    def view(self, start: int = 0, length: int | None = None) -> memoryview:
        length = self.size - start if length is None else length
        if start < 0 or length < 0 or start + length > self.size:
            raise Refused("is cut short")
        return memoryview(self.data)[start : start + length]

    def read_into(self, start: int, buffer: bytearray, charge: bool = True) -> None:
        buffer[:] = self.view(start, len(buffer))

    def find_line_end(self, start: int, stop: int) -> int:
        return self.data.find(b"\n", start, stop)

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Span:
    """Bytes [start, start + length) of a file; with `crc`, what their CRC-32 must be."""

    source: Source
    start: int
    length: int
    crc: int | None = None

    def view(self) -> memoryview:
        return self.source.view(self.start, self.length)

    def bytes(self, limit: int = 1 << 20) -> bytes:
        """A copy.

        Raises:
            Refused: longer than `limit`.
        """
        if self.length > limit:
            raise Refused(f"has {self.length} bytes where a number or a short text belongs")
        return bytes(self.view())

    def check(self) -> None:
        """Compare the whole span's CRC-32, where the container recorded one; only once."""
        if self.crc is None:
            return
        value, step = 0, 1 << 22
        for offset in range(0, self.length, step):
            block = bytearray(min(step, self.length - offset))
            self.source.read_into(self.start + offset, block, charge=False)
            value = zlib.crc32(block, value)
        if value != self.crc:
            raise Refused("is damaged (a checksum of its weights is wrong); download or copy it again")
        self.crc = None

    def read_into(self, offset: int, buffer: bytearray) -> None:
        """Fill `buffer` from byte `offset` of the span on."""
        if offset + len(buffer) > self.length:
            raise Refused("has a tensor that reaches beyond its own bytes")
        self.check()
        self.source.read_into(self.start + offset, buffer)


@dataclass(frozen=True)
class Literal:
    """Bytes that a pickle spelled out, in memory already; used like a Span."""

    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, buffer: bytearray) -> None:
        if offset + len(buffer) > len(self.data):
            raise Refused("has a tensor that reaches beyond its own bytes")
        buffer[:] = self.data[offset : offset + len(buffer)]


@dataclass
class Storage:
    """A run of numbers of one type. `span` is None until its container says where it lies (old torch files)."""

    dtype: str
    count: int
    span: Span | Literal | None = None

    def bind(self, span: Span | Literal) -> None:
        if span.length < self.count * ITEM_BYTES[self.dtype]:
            raise Refused("is cut short: a tensor is longer than the bytes kept for it")
        self.span = span


@dataclass(frozen=True)
class TensorRef:
    """A tensor in a file: storage, type, and how it is laid over the storage (offset and strides in elements)."""

    storage: Storage = field(repr=False)
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.stride)
        if not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers):
            raise Refused("has a tensor whose shape is no shape")
        if len(self.shape) != len(self.stride) or len(self.shape) > MAX_DIMENSIONS:
            raise Refused("has a tensor whose shape and strides do not fit each other")
        # An expanded tensor (stride 0) would be larger in memory than in the file; networks hold none.
        if self.offset + self.extent > self.storage.count or self.numel > max(self.extent, 1):
            raise Refused("has a tensor that reaches beyond its own bytes")

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def extent(self) -> int:
        """Elements from the first to the last one that the tensor touches."""
        if self.numel == 0:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))

    def read(self) -> torch.Tensor:
        """The tensor itself, in memory of its own, contiguous.

        Raises:
            Refused: the bytes are missing or damaged.
        """
        import torch

        dtype = getattr(torch, self.dtype)
        if self.numel == 0:
            return torch.empty(self.shape, dtype=dtype)
        if self.storage.span is None:
            raise Refused("names a tensor that it does not contain")
        item = ITEM_BYTES[self.dtype]
        buffer = bytearray(self.extent * item)
        self.storage.span.read_into(self.offset * item, buffer)
        flat = torch.frombuffer(buffer, dtype=dtype)
        return flat.as_strided(self.shape, self.stride).contiguous()


def contiguous_strides(shape: Sequence[int], fortran: bool = False) -> tuple[int, ...]:
    """Strides, in elements, of a dense array in C or Fortran order."""
    strides, step = [], 1
    for size in shape if fortran else reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(strides if fortran else reversed(strides))
