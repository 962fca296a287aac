"""Safetensors files: read with every number in the header checked and nothing mapped into memory, written in one order.

The library's own reader maps the file, so a file that another program cuts short ends the process with a bus error, and
it takes headers of 100 MB, which fill gigabytes. Its writer puts metadata into a random order.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from padinv.runtime.errors import InputError
from padinv.runtime.files import fill, open_regular, parse_json
from padinv.runtime.foreign_files import HEAD_BYTES, foreign_file

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
    "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8,
}  # fmt: skip
_NUMPY = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
MAX_DIMENSIONS = 8
MAX_NAME = 1000
_BLOCK = 1 << 18  # numbers read at a time


class DamagedFileError(Exception):
    """A file is not a usable safetensors file, and why: a clause that follows the file's name."""


def index_limit(size: int) -> int:
    """Bytes that the index of a file of `size` bytes may have: what is parsed whole before any weight is read.

    Parsed JSON takes up to 27 times its bytes, so this keeps reading a small file within 64 MiB plus twice its size.
    Real headers take 100 bytes for a tensor of thousands, and 300 bytes for an image of tens of thousands.
    """
    return (2 << 20) + size // 64


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: its type as the format spells it, its shape, and where in the file its bytes lie."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    length: int


class SafetensorsFile:
    """An open safetensors file.

    Attributes:
        metadata: the texts beside the tensors.
        entries: tensor name -> where it lies.
        size: bytes of the file.

    Raises:
        DamagedFileError: not a safetensors file, or one whose header makes no sense.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        self.metadata, self.entries = _read_header(file, self.size)

    @classmethod
    def open(cls, path: Path | str) -> SafetensorsFile:
        """Open a regular file.

        Raises:
            OSError: it cannot be opened. DamagedFileError: it is not a safetensors file.
        """
        file = open_regular(path)
        try:
            return cls(file)
        except BaseException:
            file.close()
            raise

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.file.close()

    def read_bytes(self, name: str) -> bytearray:
        """The bytes of a tensor.

        Raises:
            DamagedFileError: the file became shorter while it was read.
        """
        entry = self.entries[name]
        data = bytearray(entry.length)
        if not fill(data, self.file, entry.start):
            raise DamagedFileError("is cut short")
        return data

    def read_float32(self, name: str) -> np.ndarray:
        """A tensor of type F16, F32 or F64 as float32. No more memory is taken than the result and one block.

        Raises:
            DamagedFileError: another type, or the file became shorter while it was read.
        """
        entry = self.entries[name]
        if entry.dtype not in _NUMPY:
            raise DamagedFileError(f"holds {name[:60]!r} as {entry.dtype}, not F16, F32 or F64")
        dtype = np.dtype(_NUMPY[entry.dtype]).newbyteorder("<")
        values = np.empty(math.prod(entry.shape), np.float32)
        with np.errstate(over="ignore"):  # what is infinite as float32 is refused where values are checked
            for at in range(0, len(values), _BLOCK):
                block = bytearray(min(_BLOCK, len(values) - at) * dtype.itemsize)
                if not fill(block, self.file, entry.start + at * dtype.itemsize):
                    raise DamagedFileError("is cut short")
                values[at : at + _BLOCK] = np.frombuffer(block, dtype)
        return values.reshape(entry.shape)


def safetensors_bytes(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of float16 and float32 arrays. The same values give the same bytes."""
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    blocks, end = [], 0
    for name in names:
        array = np.ascontiguousarray(arrays[name])
        dtype = {"float16": "F16", "float32": "F32"}[array.dtype.name]
        start, end = end, end + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
        blocks.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *blocks])


def all_finite(array: np.ndarray) -> bool:
    """Whether no value is NaN or infinite; takes no memory, unlike `numpy.isfinite`."""
    return array.size == 0 or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins with these bytes (nine are enough) can be a safetensors file."""
    return len(head) >= 9 and head[8:9] == b"{"


def open_safetensors(path: Path | str, what: str) -> SafetensorsFile:
    """Open a safetensors file; `what` ('an inversion') stands in messages.

    Raises:
        InputError: missing, not a regular file, or not a usable safetensors file.
    """
    try:
        return SafetensorsFile.open(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read as {what}: {error.strerror or error}") from error
    except DamagedFileError as error:
        raise InputError(f"{path} cannot be read as {what}: it {error}") from error


def _read_header(file: io.BufferedIOBase, size: int) -> tuple[dict[str, str], dict[str, Entry]]:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not is_safetensors(head):
        raise DamagedFileError(foreign_file(head) or "is not a safetensors file")
    (length,) = struct.unpack("<Q", head[:8])
    if length > size - 8:
        raise DamagedFileError("is a safetensors file that is cut short or damaged")
    if length > index_limit(size):
        raise DamagedFileError(f"has a header of {length >> 20} MiB, out of all proportion to its {size >> 20} MiB")
    file.seek(8)
    try:
        header = parse_json(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("not a mapping")
    except ValueError as error:
        raise DamagedFileError("is a safetensors file with a damaged header") from error
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise DamagedFileError("is a safetensors file with damaged metadata")
    entries = {name: _entry(name, value, 8 + length, size) for name, value in header.items()}
    end = 0
    for entry in sorted(entries.values(), key=lambda e: (e.start, e.length)):
        if entry.start < end:
            raise DamagedFileError("is a safetensors file whose tensors overlap")
        end = entry.start + entry.length
    return metadata, entries


def _entry(name: str, value: Any, base: int, size: int) -> Entry:
    def damaged() -> DamagedFileError:
        return DamagedFileError(f"is a safetensors file with a damaged entry {name[:60]!r}")

    if not isinstance(value, dict) or len(name) > MAX_NAME:
        raise damaged()
    dtype, shape, offsets = value.get("dtype"), value.get("shape"), value.get("data_offsets")
    shape, offsets = _sizes(shape, MAX_DIMENSIONS), _sizes(offsets, 2)
    if not isinstance(dtype, str) or shape is None or offsets is None or len(offsets) != 2:
        raise damaged()
    begin, end = offsets
    if not begin <= end <= size - base:
        raise DamagedFileError("is a safetensors file that is cut short or damaged")
    if dtype in ITEM_BYTES and math.prod(shape) * ITEM_BYTES[dtype] != end - begin:
        raise damaged()
    return Entry(dtype[:20], shape, base + begin, end - begin)


def _sizes(value: Any, most: int) -> tuple[int, ...] | None:
    if not isinstance(value, list) or len(value) > most or not all(type(n) is int and 0 <= n < 1 << 48 for n in value):
        return None
    return tuple(value)
