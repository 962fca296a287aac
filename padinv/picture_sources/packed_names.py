"""Millions of names in little memory: one block of bytes and where each name begins, in sorted order.

A list of three million `str` takes about 300 MB; the same names take 90 MB here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

BLOCK = 1 << 16  # names handled at a time by the vectorised parts
KEY_BYTES = 8  # of a name, compared at a time


class PackedNames:
    """Names as UTF-8 bytes; `append` all of them, then `sort`, then read by rank.

    Example:
        >>> names = PackedNames()
        >>> for name in (b"b.png", b"a.png"):
        ...     names.append(name)
        >>> _ = names.sort()
        >>> names[0]
        b'a.png'
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._starts: list[np.ndarray] = []
        self._pending: list[int] = []
        self._table: np.ndarray | None = None  # [count + 1]: where each name begins, in the order of arrival
        self._order: np.ndarray | None = None  # [count]: rank -> arrival; None where they arrived sorted
        self._sorted = self._distinct = True
        self._last = b""
        self._count = 0

    def append(self, name: bytes) -> None:
        """Take in one more name."""
        self._pending.append(len(self._bytes))
        self._bytes += name
        self._distinct = self._distinct and (name > self._last or not self._count)
        self._sorted = self._sorted and name >= self._last
        self._last = name
        self._count += 1
        if len(self._pending) >= BLOCK:
            self._flush()

    def _flush(self) -> None:
        self._starts.append(np.array(self._pending, dtype=np.int64))
        self._pending = []

    def __len__(self) -> int:
        return self._count

    def sort(self) -> np.ndarray | None:
        """Put the names into byte order (which is the order of their code points).

        Returns:
            rank -> arrival as integers [count], for what else was gathered beside the names; None where nothing moved.
        """
        self._flush()
        kind = np.uint32 if len(self._bytes) < 1 << 32 else np.int64
        end = np.array([len(self._bytes)], dtype=np.int64)
        self._table = np.concatenate([*self._starts, end], dtype=kind, casting="unsafe")
        self._starts = []
        if not self._sorted:
            self._order = self._ranks()
        return self._order

    def _ranks(self) -> np.ndarray:
        """Stable sort by eight bytes at a time, the last ones first."""
        assert self._table is not None
        starts, stops = self._table[:-1], self._table[1:]
        kind = np.uint32 if len(self) < 1 << 32 else np.int64
        lengths = stops - starts
        longest = int(lengths.max(initial=0))
        # A shorter name comes before a longer one that begins with it: equal keys are told apart by the lengths.
        order = np.argsort(lengths, kind="stable").astype(kind)
        del lengths
        for offset in range((longest - 1) // KEY_BYTES * KEY_BYTES, -1, -KEY_BYTES):
            keys = self._keys(starts, stops, offset)
            if keys.min() != keys.max():
                keys = keys[order]  # each array that is no longer needed goes before the next one comes
                ranks = np.argsort(keys, kind="stable").astype(kind)
                del keys
                order = order[ranks]
        return order

    def _keys(self, starts: np.ndarray, stops: np.ndarray, offset: int) -> np.ndarray:
        """Bytes [offset, offset + 8) of every name as one big-endian number; missing bytes are zero."""
        data = np.frombuffer(self._bytes, np.uint8)
        keys = np.empty(len(starts), np.uint64)
        for begin in range(0, len(starts), BLOCK):
            part = slice(begin, begin + BLOCK)
            places = starts[part, None].astype(np.int64) + (offset + np.arange(KEY_BYTES))
            inside = places < stops[part, None]
            picked = np.where(inside, data[np.minimum(places, len(data) - 1)], 0).astype(np.uint8)
            keys[part] = np.ascontiguousarray(picked).view(">u8")[:, 0]
        return keys

    def _equal_to_next(self) -> np.ndarray:
        """For each rank but the last, whether the name after it is the same: bool [count - 1]."""
        assert self._table is not None
        order = slice(None) if self._order is None else self._order
        starts, stops = self._table[:-1], self._table[1:]
        lengths = (stops - starts)[order]
        equal: np.ndarray = lengths[1:] == lengths[:-1]
        for offset in range(0, int(lengths.max(initial=0)), KEY_BYTES):
            if not equal.any():
                break
            keys = self._keys(starts, stops, offset)[order]
            equal &= keys[1:] == keys[:-1]
        return equal

    def drop_repeated(self) -> np.ndarray | None:
        """Keep the last of each group of equal names, after `sort`.

        Returns:
            the ranks that are kept, as int64; None where no name is repeated.
        """
        if self._distinct:
            return None
        repeated = self._equal_to_next()
        if not repeated.any():
            return None
        kept = np.flatnonzero(np.append(~repeated, True))
        order = np.arange(len(self), dtype=np.int64) if self._order is None else self._order
        self._order = order[kept]
        self._count = len(kept)
        return kept

    def __getitem__(self, rank: int) -> bytes:
        assert self._table is not None, "sort() comes before reading"
        if not 0 <= rank < self._count:
            raise IndexError(rank)
        arrival = rank if self._order is None else int(self._order[rank])
        return bytes(self._bytes[int(self._table[arrival]) : int(self._table[arrival + 1])])

    def __iter__(self) -> Iterator[bytes]:
        return (self[rank] for rank in range(self._count))

    def digest(self) -> str:
        """SHA-256 of the names in order with zero bytes between them, as hex."""
        result = hashlib.sha256()
        for begin in range(0, self._count, BLOCK):
            block = b"\0".join(self[rank] for rank in range(begin, min(begin + BLOCK, self._count)))
            result.update(block if begin == 0 else b"\0" + block)
        return result.hexdigest()
