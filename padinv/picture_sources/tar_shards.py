"""Tar archives as WebDataset names them (`train-000000.tar`, ...): pictures read in place through an index."""

from __future__ import annotations

import os
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from padinv.picture_sources.packed_names import PackedNames
from padinv.picture_sources.source import PictureSource, printable
from padinv.runtime.batch.folder_walk import in_hidden_place, is_image_name
from padinv.runtime.errors import InputError
from padinv.runtime.files import open_regular
from padinv.runtime.images import SUFFIXES
from padinv.runtime.images.limits import MAX_FILE_BYTES

BLOCK = 512
_FILE_KINDS = (b"0", b"\0", b"7")
_NAME_KINDS = (b"x", b"L")  # a following entry's attributes (pax) or long name (GNU)
_OTHER_KINDS = (b"1", b"2", b"3", b"4", b"5", b"6", b"g", b"K", b"S")
MAX_HEADER_BYTES = 1 << 20
OPEN_FILES = 64  # shards kept open in one process


def tar_members(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Regular files of a tar archive: (name, offset of the data, size in bytes).

    Only headers are read: half a kilobyte for each file. `tarfile` does the same at a tenth of the speed.

    Raises:
        ValueError: damaged or cut off.
    """
    length = os.fstat(file.fileno()).st_size
    at = 0
    long_name: bytes | None = None
    long_size: int | None = None
    while at + BLOCK <= length:
        file.seek(at)
        header = file.read(BLOCK)
        if header.count(0) == BLOCK:
            return
        size = _number(header[124:136])
        if _number(header[148:156]) != sum(header[:148]) + sum(header[156:]) + 8 * 32:
            raise ValueError(f"the header at byte {at} is damaged")
        kind = header[156:157]
        data = at + BLOCK
        if kind in _NAME_KINDS:
            if size > MAX_HEADER_BYTES:
                raise ValueError(f"the header at byte {at} is larger than {MAX_HEADER_BYTES >> 20} MiB")
            text = file.read(size)
            if kind == b"L":
                long_name = text.rstrip(b"\0")
            else:
                long_name, long_size = _pax(text, long_name, long_size)
        elif kind in _FILE_KINDS:
            size = size if long_size is None else long_size
            if data + size > length:
                raise ValueError(f"it is cut off in the file at byte {at}")
            prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
            short = header[:100].split(b"\0", 1)[0]
            yield long_name or (prefix + b"/" + short if prefix else short), data, size
            long_name = long_size = None
        elif kind in _OTHER_KINDS:
            long_name = long_size = None
        else:
            raise ValueError(f"the entry at byte {at} is of an unknown kind")
        at = data + -(-size // BLOCK) * BLOCK
    raise ValueError("it is cut off: the mark of its end is missing")


def _number(field: bytes) -> int:
    """An octal number, or a binary one as GNU tar writes large sizes."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.split(b"\0", 1)[0].strip()
    return int(text, 8) if text else 0


def _pax(text: bytes, name: bytes | None, size: int | None) -> tuple[bytes | None, int | None]:
    while text:
        count, space, _ = text.partition(b" ")
        if not space or not count.isdigit() or not len(count) < int(count) <= len(text):
            break
        key, _, value = text[len(count) + 1 : int(count) - 1].partition(b"=")
        text = text[int(count) :]
        if key == b"path":
            name = value
        elif key == b"size" and value.isdigit():
            size = int(value)
    return name, size


class TarSource(PictureSource):
    """The pictures of one or several tar archives, sorted by name over all of them.

    Other members (labels, captions) are passed over. Names may repeat in different shards.

    Raises:
        InputError: a shard is missing, damaged or compressed, or no shard holds a picture.
    """

    def __init__(self, path: Path | str, shards: Sequence[Path]) -> None:
        self.path = path
        self._shards = list(shards)
        self._files: dict[int, BinaryIO] = {}
        self._owner = -1
        names, offsets, sizes, places = PackedNames(), array("Q"), array("I"), array("I")
        for number, shard in enumerate(self._shards):
            for name, offset, size in self._members(shard):
                text = name.decode("utf-8", "replace").removeprefix("./")
                if is_image_name(text) and not in_hidden_place(PurePosixPath(text).parts):
                    names.append(text.encode())
                    offsets.append(offset)
                    sizes.append(min(size, 0xFFFFFFFF))  # which is over the limit for a picture anyway
                    places.append(number)
        if not len(names):
            raise InputError(f"{path} holds no picture ({', '.join(sorted(SUFFIXES))})")
        table: list[np.ndarray] = [np.asarray(column) for column in (offsets, sizes, places)]
        order = names.sort()
        if order is not None:
            for k in range(len(table)):  # one by one, so that only one is there twice
                table[k] = table[k][order]
        self._names = names
        self._offsets, self._sizes, self._places = table

    @staticmethod
    def _members(shard: Path) -> Iterator[tuple[bytes, int, int]]:
        try:
            with open(shard, "rb", buffering=BLOCK) as file:
                head = file.read(4)
                if head[:2] == b"\x1f\x8b" or head == b"\x28\xb5\x2f\xfd" or head[:3] == b"BZh":
                    raise InputError(
                        f"{shard} is a compressed tar archive, whose pictures cannot be read one by one; "
                        "decompress it first (pictures do not get smaller by it)"
                    )
                yield from tar_members(file)
        except OSError as error:
            raise InputError(f"{shard} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise InputError(f"{shard} is not a readable tar archive: {error}") from error

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": {}, "_owner": -1}

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        return self._names[index].decode()

    def label(self, index: int) -> str:
        return f"{printable(self.name(index))} in {self._shards[int(self._places[index])]}"

    def names_digest(self) -> str:
        return self._names.digest()

    def sizes(self) -> np.ndarray:
        return self._sizes

    def _open(self, number: int) -> BinaryIO:
        if self._owner != os.getpid():
            self._files, self._owner = {}, os.getpid()
        if number not in self._files:
            while len(self._files) >= OPEN_FILES:
                self._files.pop(next(iter(self._files))).close()
            self._files[number] = open(self._shards[number], "rb")  # noqa: SIM115
        return self._files[number]

    def data(self, index: int) -> bytes:
        size = int(self._sizes[index])
        if size > MAX_FILE_BYTES:
            raise InputError(f"{self.label(index)} is larger than {MAX_FILE_BYTES >> 20} MiB, so it was not read")
        try:
            file = self._open(int(self._places[index]))
            file.seek(int(self._offsets[index]))
            data = file.read(size)
        except OSError as error:
            raise InputError(f"{self.label(index)} cannot be read: {error.strerror or error}") from error
        if len(data) != size:
            raise InputError(f"{self.label(index)} is cut off")
        return data


def is_tar(path: Path) -> bool:
    """Whether a file is a tar archive that is not compressed."""
    try:
        with open_regular(path) as file:
            head = file.read(BLOCK)
        return len(head) == BLOCK and (head[257:262] == b"ustar" or _looks_like_v7(head))
    except OSError:
        return False


def _looks_like_v7(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "replace")
    except tarfile.HeaderError:
        return False
    return True
