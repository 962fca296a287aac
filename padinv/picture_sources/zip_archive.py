"""ZIP archives, NVIDIA's layout with `dataset.json` included, with an index of eight bytes a picture.

The index holds where each picture's entry begins in the archive's directory, in the order of the names, and its size.
Names and offsets stay in the file, and are read with the picture.
"""

from __future__ import annotations

import bz2
import hashlib
import heapq
import lzma
import os
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

import numpy as np

from padinv.picture_sources.source import PictureSource
from padinv.picture_sources.zip_directory import Member, NotZipError, ZipDirectory
from padinv.runtime.batch.folder_walk import in_hidden_place, is_hidden, is_image_name
from padinv.runtime.errors import InputError
from padinv.runtime.files import open_regular
from padinv.runtime.images.limits import MAX_FILE_BYTES

MAX_MEMBERS = 10_000_000
MAX_MEMBER_RATIO = 1_000  # a picture that unpacks to more than this many times its size is an attack
SORTED_AT_ONCE = 1 << 17  # names in memory while they are sorted

T = TypeVar("T")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED, _BZIP2, _LZMA = 0, 8, 12, 14


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

    Where a name is repeated, the last one counts, as for `zipfile`.

    Raises:
        InputError: missing, not an archive, or without a picture.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file: BinaryIO | None = None
        self._owner = -1  # the process that opened `_file`: a file handle must not be shared after a fork
        try:
            self._directory = ZipDirectory(self._open())
            self._index()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from error
        except (NotZipError, struct.error) as error:
            raise InputError(f"{self.path} is not a readable ZIP archive ({error})") from error
        if not len(self):
            raise InputError(f"{self.path} holds no picture")

    def _index(self) -> None:
        places, sizes = array("I" if self._directory.length < 1 << 32 else "Q"), array("I")
        runs: list[np.ndarray] = []  # ranks of arrival, each of them sorted by name
        part: list[tuple[str, int]] = []
        last, in_order = "", True
        for place, name, size in self._picture_entries():
            if len(part) == SORTED_AT_ONCE:
                runs.append(_sorted_ranks(part))
            part.append((name, len(places)))
            places.append(place)
            sizes.append(size)
            in_order = in_order and (name > last or len(places) == 1)
            last = name
        self._places, self._sizes = np.asarray(places), np.asarray(sizes)
        if in_order:
            return
        runs.append(_sorted_ranks(part))
        order = self._merged(runs)
        self._places, self._sizes = self._places[order], self._sizes[order]

    def _picture_entries(self) -> Iterator[tuple[int, str, int]]:
        """Entries of the directory that are pictures, as (place, name, size)."""
        hidden = lru_cache(maxsize=4096)(lambda folder: in_hidden_place(PurePosixPath(folder).parts))
        for count, entry in enumerate(self._directory.entries(self._open())):
            if count >= MAX_MEMBERS:
                raise InputError(f"{self.path} has more than {MAX_MEMBERS:,} members, so it was not read")
            folder, _, base = entry[1].rpartition("/")
            if is_image_name(base) and not is_hidden(base) and not hidden(folder):
                yield entry

    def _merged(self, runs: list[np.ndarray]) -> np.ndarray:
        """Ranks of arrival in the order of all names; names are read again from the directory, one of each run."""
        order = array("I")
        last = None
        for name, rank in heapq.merge(*(self._named(run) for run in runs)):
            if name == last:
                order.pop()
            order.append(rank)
            last = name
        return np.asarray(order)

    def _named(self, run: np.ndarray) -> Iterator[tuple[str, int]]:
        for begin in range(0, len(run), 1024):  # Python's own integers take nine times the memory
            for rank in run[begin : begin + 1024].tolist():
                yield self.name(rank), rank

    def _open(self) -> BinaryIO:
        if self._file is None or self._owner != os.getpid():
            self._file, self._owner = open_regular(self.path), os.getpid()
        return self._file

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None, "_owner": -1}

    def __len__(self) -> int:
        return len(self._places)

    def _entry(self, read: Callable[[BinaryIO, int], T], index: int) -> T:
        """What `read`, a method of the directory, finds at a picture's place."""
        try:
            return read(self._open(), int(self._places[index]))
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from error
        except NotZipError as error:
            raise InputError(f"{self.path} changed while it was in use, or is damaged ({error})") from error

    def name(self, index: int) -> str:
        return self._entry(self._directory.name, index)

    def names_digest(self) -> str:
        result = hashlib.sha256()
        for index in range(len(self)):
            result.update((b"\0" if index else b"") + self.name(index).encode())
        return result.hexdigest()

    def sizes(self) -> np.ndarray:
        return self._sizes

    def data(self, index: int) -> bytes:
        member, label = self._entry(self._directory.member, index), partial(self.label, index)
        if member.size > MAX_FILE_BYTES or member.size > MAX_MEMBER_RATIO * max(1, member.packed):
            raise InputError(f"{label()} unpacks to {member.size >> 20} MiB, so it was not read")
        if member.flags & 1:
            raise InputError(f"{label()} cannot be unpacked: it is encrypted")
        try:
            data = _member_data(self._open(), member)
        except (OSError, ValueError, OverflowError) as error:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:160]
            raise InputError(f"{label()} cannot be unpacked: {reason}") from error
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            raise InputError(f"{label()} cannot be unpacked: its checksum does not match, so it is damaged")
        return data


def _sorted_ranks(part: list[tuple[str, int]]) -> np.ndarray:
    """Ranks of (name, rank) in the order of names; empties the list."""
    part.sort()
    ranks = np.array([rank for _, rank in part], np.uint32)
    part.clear()
    return ranks


def _member_data(file: BinaryIO, member: Member) -> bytes:
    """A member's bytes, unpacked.

    Raises:
        OSError, ValueError, OverflowError: damaged or not readable.
    """
    file.seek(member.offset)
    local = file.read(_LOCAL.size)
    if len(local) < _LOCAL.size or local[:4] != b"PK\x03\x04":
        raise ValueError("there is nothing where the directory says it begins")
    *_, name_size, extra_size = _LOCAL.unpack(local)
    file.seek(name_size + extra_size, os.SEEK_CUR)
    return unpack(file.read(member.packed), member.method, member.size)
