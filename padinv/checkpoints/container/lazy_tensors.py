"""Tensors that stay in their file until they are needed.

A checkpoint is never loaded whole: reading it yields names, shapes and byte ranges, and a range is copied into memory
when its tensor is asked for. A training file of a gigabyte therefore costs what its generator weighs.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from padinv.runtime.files import fill, open_regular
from padinv.runtime.safetensors_file import index_limit as index_limit

if TYPE_CHECKING:
    import torch

ITEM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
    "uint64": 8, "uint32": 4, "uint16": 2, "complex64": 8, "complex128": 16,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1,
}  # fmt: skip
# What weights are kept as; other types may lie in a file (states of random generators, quantised copies).
WEIGHT_TYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
MAX_DIMENSIONS = 8
MAX_STEPS = 2_000_000

_REPEATED = "references the same tensor data many times; refusing to load a file that would expand far beyond its size"


class Refused(Exception):
    """A file cannot be used, and why: a clause that follows the file's name. Turned into InputError at the border."""


class Budget:
    """What reading one file may cost, in memory that is built and in steps of work.

    Shared by everything that lies in the file, nested files too. An honest checkpoint needs a small part of it: names
    and shapes take a few megabytes, and its weights are read once.

    Attributes:
        memory: bytes left: 48 MiB and twice the file's size. Never refunded, so that work on short-lived values counts.
        steps: pickle operations and copied elements left.
    """

    def __init__(self, size: int) -> None:
        self.memory = (48 << 20) + 2 * size
        self.steps = MAX_STEPS

    def spend(self, memory: int, steps: int = 0) -> None:
        """Account for `memory` bytes about to be made and `steps` elements about to be visited.

        Raises:
            Refused: there is not so much left.
        """
        self.memory -= memory
        self.steps -= steps
        if self.memory < 0:
            raise Refused("unpacks to far more than its size, which no checkpoint does")
        if self.steps < 0:
            raise Refused("takes more steps to read than any checkpoint")

    def spend_weights(self, memory: int) -> None:
        """Account for `memory` bytes of a tensor about to be read.

        Raises:
            Refused: there is not so much left.
        """
        self.memory -= memory
        if self.memory < 0:
            raise Refused(_REPEATED)


class Source:
    """An open file, read in pieces.

    It is never mapped into memory: a file that another program cuts short would then end the process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = open_regular(path)
        self.size = os.fstat(self.file.fileno()).st_size
        self.budget = Budget(self.size)
        self.check_budget = 2 * self.size + (16 << 20)  # bytes whose checksums may be computed

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """Bytes [start, start + length) of the file.

        Raises:
            Refused: the file ends before.
        """
        buffer = bytearray(self._reach(start, length))
        self._fill(start, buffer)
        return bytes(buffer)

    def read_into(self, start: int, buffer: bytearray) -> None:
        """Fill `buffer` from the file, from byte `start` on.

        Raises:
            Refused: the file ends before.
        """
        self._reach(start, len(buffer))
        self._fill(start, buffer)

    def checksum(self, start: int, length: int) -> int:
        """CRC-32 of bytes [start, start + length).

        Raises:
            Refused: the file ends before, or asks for the same bytes again and again.
        """
        self.check_budget -= self._reach(start, length)
        if self.check_budget < 0:
            raise Refused(_REPEATED)
        value, block = 0, bytearray(1 << 20)
        for offset in range(0, length, len(block)):
            if length - offset < len(block):
                block = bytearray(length - offset)
            self._fill(start + offset, block)
            value = zlib.crc32(block, value)
        return value

    def close(self) -> None:
        self.file.close()

    def _reach(self, start: int, length: int | None) -> int:
        length = self.size - start if length is None else length
        if start < 0 or length < 0 or start + length > self.size:
            raise Refused("is cut short")
        return length

    def _fill(self, start: int, buffer: bytearray) -> None:
        if not fill(buffer, self.file, start):
            raise Refused("is cut short")


class BytesSource(Source):
    """The same over bytes in memory: a torch file that a pickle spelled out. Its budget is the outer file's."""

    def __init__(self, data: bytes, outer: Source) -> None:
        self.data, self.size = data, len(data)
        self.path, self.budget, self.check_budget = outer.path, outer.budget, 2 * len(data)

    def _fill(self, start: int, buffer: bytearray) -> None:
        buffer[:] = self.data[start : start + len(buffer)]

    def close(self) -> None:
        """Nothing to close."""


@dataclass(slots=True)
class Span:
    """Bytes [start, start + length) of a file; with `crc`, what their CRC-32 must be."""

    source: Source
    start: int
    length: int
    crc: int | None = None

    @property
    def budget(self) -> Budget:
        return self.source.budget

    def bytes(self, limit: int = 1 << 20) -> bytes:
        """A copy.

        Raises:
            Refused: longer than `limit`.
        """
        if self.length > limit:
            raise Refused(f"has {self.length} bytes where a number or a short text belongs")
        return self.source.read(self.start, self.length)

    def check(self) -> None:
        """Compare the whole span's CRC-32, where the container recorded one; only once."""
        if self.crc is None:
            return
        value = self.source.checksum(self.start, self.length)
        if value != self.crc:
            raise Refused("is damaged (a checksum of its weights is wrong); download or copy it again")
        self.crc = None

    def read_into(self, offset: int, buffer: bytearray) -> None:
        """Fill `buffer` from byte `offset` of the span on."""
        if offset + len(buffer) > self.length:
            raise Refused("has a tensor that reaches beyond its own bytes")
        self.check()
        self.source.read_into(self.start + offset, buffer)


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes that a pickle spelled out, in memory already; used like a Span."""

    data: bytes = field(repr=False)
    budget: Budget = field(repr=False)

    @property
    def length(self) -> int:
        return len(self.data)

    def read_into(self, offset: int, buffer: bytearray) -> None:
        if offset + len(buffer) > len(self.data):
            raise Refused("has a tensor that reaches beyond its own bytes")
        buffer[:] = self.data[offset : offset + len(buffer)]


@dataclass(slots=True)
class Storage:
    """A run of numbers of one type. `span` is None until its container says where it lies (old torch files)."""

    dtype: str
    count: int
    span: Span | Literal | None = None

    def bind(self, span: Span | Literal) -> None:
        if span.length < self.count * ITEM_BYTES[self.dtype]:
            raise Refused("is cut short: a tensor is longer than the bytes kept for it")
        self.span = span


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor in a file: storage, type, and how it is laid over the storage (offset and strides in elements)."""

    storage: Storage = field(repr=False)
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) != len(self.stride) or len(self.shape) > MAX_DIMENSIONS:
            raise Refused("has a tensor whose shape and strides do not fit each other")
        numbers = (self.offset, *self.shape, *self.stride)
        if not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers):
            raise Refused("has a tensor whose shape makes no sense")
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
        # Aliased tensors could make a small file fill the memory. Weights become float32, so they are counted as such.
        self.storage.span.budget.spend_weights(max(self.extent * item, 4 * self.numel))
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
