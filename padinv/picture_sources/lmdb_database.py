"""LMDB as the LSUN data sets are downloaded: keys are hashes, values are WebP or JPEG files."""

from __future__ import annotations

import binascii
import hashlib
import os
from array import array
from collections.abc import Generator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from padinv.picture_sources.packed_names import PackedNames
from padinv.picture_sources.source import PictureSource, printable
from padinv.runtime.errors import InputError, MissingPackageError
from padinv.runtime.images.limits import MAX_FILE_BYTES

# What was touched of a database counts as memory of the process until it is closed, so it is opened again so often.
KEYS_A_MAP = 200_000
# A process may open a database only once. What was opened for reading stays open, and serves forked workers too.
_OPEN: dict[str, Any] = {}
LEAST_BYTES = 32  # no picture is smaller; counts and flags beside the pictures are


class _HexKeys:
    """Keys of hex digits, all of one length, at half their size: three million SHA-1 sums take 60 MB."""

    def __init__(self) -> None:
        self.data, self.width = bytearray(), 0

    def extend(self, keys: list[bytes]) -> None:
        """Take in some keys.

        Raises:
            ValueError: one is not of this kind.
        """
        self.width = self.width or len(keys[0])
        joined = b"".join(keys)
        if self.width % 2 or any(len(key) != self.width for key in keys) or joined != joined.lower():
            raise ValueError("keys of another kind")
        self.data += binascii.unhexlify(joined)

    def __len__(self) -> int:
        return 2 * len(self.data) // self.width if self.width else 0

    def __getitem__(self, rank: int) -> bytes:
        half = self.width // 2
        return binascii.hexlify(self.data[rank * half : (rank + 1) * half])

    def digest(self) -> str:
        """SHA-256 of the keys in order with zero bytes between them, as hex."""
        result = hashlib.sha256()
        for begin in range(0, len(self), 4096):
            block = b"\0".join(self[k] for k in range(begin, min(begin + 4096, len(self))))
            result.update(block if begin == 0 else b"\0" + block)
        return result.hexdigest()


class _AnyKeys(PackedNames):
    def extend(self, keys: list[bytes]) -> None:
        """Take in some keys."""
        for key in keys:
            self.append(key)


class LmdbSource(PictureSource):
    """The pictures of an LMDB database, in the order of their keys.

    Values that are too small to be a picture (a count, a flag) are passed over.

    Args:
        path: the folder with `data.mdb`, or a single `.mdb` file.

    Raises:
        InputError: missing, damaged, or without a picture.
        MissingPackageError: the package `lmdb` is not installed.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = self._root = Path(path)
        lmdb = import_lmdb()
        try:
            try:
                self._keys: _HexKeys | _AnyKeys = self._index(_HexKeys())
            except (ValueError, IndexError):
                names = _AnyKeys()
                self._index(names)
                names.sort()
                self._keys = names
        except lmdb.Error as error:
            raise InputError(f"{self.path} is not a readable LMDB database ({error})") from error
        if not len(self):
            raise InputError(f"{self.path} holds no picture")

    def _index(self, keys: Any) -> Any:
        """All keys, and the sizes of the values; the values' own pages are not touched."""
        sizes = array("L")
        last: bytes | None = None
        while True:
            chunk: list[bytes] = []
            seen = 0
            with closing(self._entries(last)) as entries:
                for seen, (key, size) in enumerate(islice(entries, KEYS_A_MAP), 1):  # noqa: B007
                    last = key
                    if size >= LEAST_BYTES:
                        chunk.append(key)
                        sizes.append(size)
            if chunk:
                keys.extend(chunk)
            if seen < KEYS_A_MAP:
                break
        self._sizes = np.array(sizes, np.uint32)
        return keys

    def _entries(self, after: bytes | None) -> Generator[tuple[bytes, int], None, None]:
        """Keys behind `after` and the sizes of their values, through a map that is closed behind them."""
        shared = _OPEN.get(self._place)
        env = shared or _open(self._root)
        try:
            with env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
                found = cursor.first() if after is None else cursor.set_range(after) and cursor.next()
                if found:
                    for key, value in cursor.iternext(keys=True, values=True):
                        yield bytes(key), len(value)
        finally:
            if shared is None:
                env.close()

    @property
    def _place(self) -> str:
        return os.path.realpath(self._root)

    def __len__(self) -> int:
        return len(self._keys)

    def name(self, index: int) -> str:
        return self._keys[index].decode("utf-8", "backslashreplace")

    def label(self, index: int) -> str:
        return f"{printable(self.name(index))} in {self.path}"

    def names_digest(self) -> str:
        return self._keys.digest()

    def sizes(self) -> np.ndarray:
        return self._sizes

    def data(self, index: int) -> bytes:
        if int(self._sizes[index]) > MAX_FILE_BYTES:
            raise InputError(f"{self.label(index)} is larger than {MAX_FILE_BYTES >> 20} MiB, so it was not read")
        lmdb = import_lmdb()
        try:
            if self._place not in _OPEN:
                _OPEN[self._place] = _open(self._root)
            with _OPEN[self._place].begin(buffers=True) as transaction:
                value = transaction.get(self._keys[index])
                if value is not None:
                    return bytes(value)
        except lmdb.Error as error:
            raise InputError(f"{self.label(index)} cannot be read: {error}") from error
        raise InputError(f"{self.label(index)} disappeared while it was in use")


def _open(path: Path) -> Any:
    """A database for reading only. Without its lock file, so that read-only media work, and so do forked processes."""
    return import_lmdb().open(
        str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, meminit=False
    )


def import_lmdb() -> Any:
    """The package `lmdb`.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import lmdb
    except ImportError as error:
        raise MissingPackageError("lmdb", "data", "reading an LMDB database") from error
    return lmdb
