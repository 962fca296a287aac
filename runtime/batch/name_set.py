"""Which names there are, in eight bytes each."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable

import numpy as np


class NameSet:
    """Names as 64-bit hashes; two of a million names share one with a chance of 1 in 40 million.

    Args:
        names: to hold; they may repeat.

    Attributes:
        distinct: no name, and no hash, came twice.
    """

    def __init__(self, names: Iterable[str]) -> None:
        hashes = array("Q", (_hash(name) for name in names))
        self._sorted = np.sort(np.frombuffer(hashes, np.uint64)) if hashes else np.empty(0, np.uint64)
        self.distinct = not bool(np.any(self._sorted[1:] == self._sorted[:-1]))

    def __contains__(self, name: str) -> bool:
        key = np.uint64(_hash(name))
        place = int(np.searchsorted(self._sorted, key))
        return place < len(self._sorted) and bool(self._sorted[place] == key)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "big")
