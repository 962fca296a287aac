"""The central directory of a ZIP archive, read entry by entry, front to back or at any place.

Python's `zipfile` keeps about 600 bytes for each member: 1.9 GB for the three million pictures of LSUN Bedroom, in
every process that reads them. Where an entry begins takes four.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s4x2H4x3L3H8xL")
_READ_BYTES = 1 << 20
_WINDOW_BYTES = 4096  # read at a time at a single place: its neighbours are often wanted next


class Member(NamedTuple):
    """An entry of the central directory; `offset` is that of the member's own header in the file."""

    name: str
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


def _text(name: bytes, flags: int) -> str:
    return name.decode("utf-8" if flags & 0x800 else "cp437", "replace")


class ZipDirectory:
    """The entries of an archive's central directory; a place is an entry's position in it.

    Args:
        file: the archive.

    Raises:
        NotZipError: there is no directory.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._begin, self.length, self._shift = directory_place(file)
        self._window, self._at = b"", 0

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_window": b"", "_at": 0}

    def entries(self, file: BinaryIO) -> Iterator[tuple[int, str, int]]:
        """All entries as (place, name, size of the member, at most 2^32 - 1), read block by block.

        Raises:
            NotZipError: the directory is damaged.
        """
        buffer, at, begin = b"", 0, 0  # `begin` is the place of the buffer's first byte
        while True:
            if len(buffer) - at < _ENTRY.size + 3 * 65_535 and begin + len(buffer) < self.length:
                file.seek(self._begin + begin + len(buffer))
                more = file.read(min(_READ_BYTES, self.length - begin - len(buffer)))
                if not more:
                    raise NotZipError("its directory is cut off")
                buffer, at, begin = buffer[at:] + more, 0, begin + at
                continue
            if len(buffer) - at < _ENTRY.size:
                return
            entry = _ENTRY.unpack_from(buffer, at)
            if entry[0] != b"PK\x01\x02":
                raise NotZipError("its directory is damaged")
            end = at + _ENTRY.size + entry[6]
            yield begin + at, _text(buffer[at + _ENTRY.size : end], entry[1]), entry[5]
            at = end + entry[7] + entry[8]

    def member(self, file: BinaryIO, place: int) -> Member:
        """The entry at a place.

        Raises:
            NotZipError: the archive changed since its directory was read.
        """
        head = self._bytes(file, place, _ENTRY.size)
        signature, flags, method, crc, packed, size, name_size, extra_size, _, offset = _ENTRY.unpack(head)
        if signature != b"PK\x01\x02":
            raise NotZipError("its directory is damaged")
        tail = self._bytes(file, place + _ENTRY.size, name_size + extra_size)
        if 0xFFFFFFFF in (packed, size, offset):
            size, packed, offset = _wide(tail[name_size:], size, packed, offset)
        return Member(_text(tail[:name_size], flags), flags, method, crc, packed, size, offset + self._shift)

    def name(self, file: BinaryIO, place: int) -> str:
        """The name of the member at a place.

        Raises:
            NotZipError: the archive changed since its directory was read.
        """
        head = self._bytes(file, place, _ENTRY.size)
        if head[:4] != b"PK\x01\x02":
            raise NotZipError("its directory is damaged")
        flags, name_size = head[8] | head[9] << 8, head[28] | head[29] << 8
        return _text(self._bytes(file, place + _ENTRY.size, name_size), flags)

    def _bytes(self, file: BinaryIO, place: int, count: int) -> bytes:
        """Bytes of the directory, through a small window."""
        if not self._at <= place <= place + count <= self._at + len(self._window):
            file.seek(self._begin + place)
            self._window, self._at = file.read(min(max(count, _WINDOW_BYTES), self.length - place)), place
            if len(self._window) < count:
                raise NotZipError("its directory is cut off")
        return self._window[place - self._at : place - self._at + count]


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
