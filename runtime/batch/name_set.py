"""Whether any of many names came twice, in eight bytes each."""

from __future__ import annotations

import hashlib
from array import array

import numpy as np


class NameSet:
    """Names as 64-bit hashes; any two of a million share one with a chance of 1 in 40 million."""

    def __init__(self) -> None:
        self._hashes = array("Q")

    def add(self, name: str) -> None:
        """Take in one more name."""
        data = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._hashes.frombytes(data)

    @property
    def distinct(self) -> bool:
        """No name, and no hash, came twice."""
        ordered = np.sort(np.array(self._hashes, np.uint64))
        return not bool(np.any(ordered[1:] == ordered[:-1]))
