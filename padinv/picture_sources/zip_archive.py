"""ZIP archives, NVIDIA's layout with `dataset.json` included, with an index of 28 bytes a picture beside the names.

Python's `zipfile` keeps about 600 bytes for each member: 1.9 GB for the three million pictures of LSUN Bedroom, in
every process that reads them. So the central directory is read here, and single members with zlib.
"""

from __future__ import annotations

import bz2
import lzma
import os
import struct
import zlib
from array import array
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from padinv.picture_sources.packed_names import PackedNames
from padinv.picture_sources.source import PictureSource
from padinv.runtime.batch.folder_walk import in_hidden_place, is_image_name
from padinv.runtime.errors import InputError
from padinv.runtime.files import open_regular
from padinv.runtime.images.limits import MAX_FILE_BYTES

MAX_MEMBERS = 10_000_000
MAX_MEMBER_RATIO = 1_000  # a picture that unpacks to more than this many times its size is an attack

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED, _BZIP2, _LZMA = 0, 8, 12, 14
_READ_BYTES = 1 << 20


class Member(NamedTuple):
    """An entry of the central directory."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


class NotZipError(ValueError):
    """The file is not a ZIP archive, or its directory is damaged."""


def directory_place(file: BinaryIO) -> tuple[int, int, int]:
    """Where the central directory of an archive lies: (position, bytes, what to add to every stored offset).

    Raises:
        NotZipError: there is none.
    """
    length = file.seek(0, os.SEEK_END)
    start = max(0, length - _END.size - 65_535)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise NotZipError("it has no directory at its end; it is cut off, or not a ZIP archive")
    _, _, _, _, _, size, offset, _ = _END.unpack_from(tail, at)
    end = start + at
    if at >= _LOCATOR.size and tail[at - _LOCATOR.size : at - _LOCATOR.size + 4] == b"PK\x06\x07":
        _, _, where, _ = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)
        end64 = start + at - _LOCATOR.size - _END64.size
        for place in (where, end64):
            file.seek(min(place, length))
            record = file.read(_END64.size)
            if len(record) == _END64.size and record[:4] == b"PK\x06\x06":
                size, offset = _END64.unpack(record)[-2:]
                end = place
                break
    begin = end - size
    if begin < 0 or size < 0:
        raise NotZipError("its directory is damaged")
    return begin, size, begin - offset


def members(file: BinaryIO) -> Iterator[Member]:
    """The entries of an archive's central directory, read block by block.

    Raises:
        NotZipError: the directory is missing or damaged.
    """
    begin, left, shift = directory_place(file)
    file.seek(begin)
    buffer, at = b"", 0
    while left > 0 or at < len(buffer):
        if len(buffer) - at < _ENTRY.size + 3 * 65_535 and left > 0:
            more = file.read(min(_READ_BYTES, left))
            if not more:
                raise NotZipError("its directory is cut off")
            left -= len(more)
            buffer, at = buffer[at:] + more, 0
            continue
        if len(buffer) - at < _ENTRY.size:
            return
        entry = _ENTRY.unpack_from(buffer, at)
        if entry[0] != b"PK\x01\x02":
            raise NotZipError("its directory is damaged")
        flags, method, crc, packed, size = entry[3], entry[4], entry[7], entry[8], entry[9]
        name_size, extra_size, comment_size, offset = entry[10], entry[11], entry[12], entry[16]
        at += _ENTRY.size
        name = buffer[at : at + name_size]
        if 0xFFFFFFFF in (packed, size, offset):
            extra = buffer[at + name_size : at + name_size + extra_size]
            size, packed, offset = _wide(extra, size, packed, offset)
        at += name_size + extra_size + comment_size
        yield Member(name, flags, method, crc, packed, size, offset + shift)


def _wide(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset beyond 32 bits, from the zip64 extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            values = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            try:
                size = next(values) if size == 0xFFFFFFFF else size
                packed = next(values) if packed == 0xFFFFFFFF else packed
                offset = next(values) if offset == 0xFFFFFFFF else offset
            except StopIteration:
                raise NotZipError("its directory is damaged") from None
            break
        at += 4 + length
    return size, packed, offset


def unpack(data: bytes, method: int, size: int) -> bytes:
    """The bytes of a member; never more than `size` + 1 are made.

    Raises:
        ValueError: damaged, or packed in another way.
    """
    try:
        if method == _STORED:
            return data
        if method == _DEFLATED:
            return zlib.decompressobj(-15).decompress(data, size + 1)
        if method == _BZIP2:
            return bz2.BZ2Decompressor().decompress(data, size + 1)
        if method == _LZMA:
            mode, dictionary = data[4], int.from_bytes(data[5:9], "little")
            properties = {"lc": mode % 9, "lp": mode // 9 % 5, "pb": mode // 45, "dict_size": min(dictionary, 64 << 20)}
            filters = [{"id": lzma.FILTER_LZMA1, **properties}]
            return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(data[9:], size + 1)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, IndexError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    raise ValueError(f"its compression method ({method}) is not supported; use stored or deflated members")


class ZipSource(PictureSource):
    """The pictures of a ZIP archive, sorted by name and never unpacked to disk, so that names do no harm.

    Raises:
        InputError: missing, not an archive, or without a picture.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file: BinaryIO | None = None
        self._owner = -1  # the process that opened `_file`: a file handle must not be shared after a fork
        try:
            self._index()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from error
        except (NotZipError, struct.error) as error:
            raise InputError(f"{self.path} is not a readable ZIP archive ({error})") from error
        if not len(self._names):
            raise InputError(f"{self.path} holds no picture")

    def _index(self) -> None:
        names, columns = PackedNames(), (array("Q"), array("I"), array("I"), array("I"), array("B"))
        offsets, packed, sizes, crcs, methods = columns
        count = 0
        is_hidden = lru_cache(maxsize=4096)(lambda folder: in_hidden_place(PurePosixPath(folder).parts))
        for member in members(self._open()):
            count += 1
            if count > MAX_MEMBERS:
                raise InputError(f"{self.path} has more than {MAX_MEMBERS:,} members, so it was not read")
            text = member.name.decode("utf-8" if member.flags & 0x800 else "cp437", "replace")
            folder, _, base = text.rpartition("/")
            if is_hidden(folder) or not is_image_name(base) or in_hidden_place((base,)):
                continue
            names.append(text.encode())
            offsets.append(member.offset)
            # Sizes beyond 32 bits are over the limit for a picture anyway; they stay recognisable as too large.
            packed.append(min(member.packed, 0xFFFFFFFF))
            sizes.append(min(member.size, 0xFFFFFFFF))
            crcs.append(member.crc)
            methods.append(255 if member.flags & 1 else min(member.method, 254))
        table: list[np.ndarray] = [np.asarray(column) for column in columns]
        for order in (names.sort(), names.drop_repeated()):
            if order is not None:
                for k in range(len(table)):  # one by one, so that only one is there twice
                    table[k] = table[k][order]
        self._names = names
        self._offsets, self._packed, self._sizes, self._crcs, self._methods = table

    def _open(self) -> BinaryIO:
        if self._file is None or self._owner != os.getpid():
            self._file, self._owner = open_regular(self.path), os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None, "_owner": -1}

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        return self._names[index].decode()

    def names_digest(self) -> str:
        return self._names.digest()

    def sizes(self) -> np.ndarray:
        return self._sizes

    def data(self, index: int) -> bytes:
        packed, size, method = int(self._packed[index]), int(self._sizes[index]), int(self._methods[index])
        label = self.label(index)
        if size > MAX_FILE_BYTES or size > MAX_MEMBER_RATIO * max(1, packed):
            raise InputError(f"{label} unpacks to {size >> 20} MiB, so it was not read")
        if method == 255:
            raise InputError(f"{label} cannot be unpacked: it is encrypted")
        try:
            file = self._open()
            file.seek(int(self._offsets[index]))
            local = file.read(_LOCAL.size)
            if len(local) < _LOCAL.size or local[:4] != b"PK\x03\x04":
                raise ValueError("there is nothing where the directory says it begins")
            *_, name_size, extra_size = _LOCAL.unpack(local)
            file.seek(name_size + extra_size, os.SEEK_CUR)
            data = unpack(file.read(packed), method, size)
        except (OSError, ValueError) as error:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:160]
            raise InputError(f"{label} cannot be unpacked: {reason}") from error
        if len(data) != size or zlib.crc32(data) != int(self._crcs[index]):
            raise InputError(f"{label} cannot be unpacked: its checksum does not match, so it is damaged")
        return data
