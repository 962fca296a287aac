"""Sequences whose later items lie on disk: a run over a million files takes the memory of one over a thousand."""

from __future__ import annotations

import pickle
import tempfile
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

MEMORY = 1000  # items that stay in memory, as they are
_BLOCK = 256  # items that are read from disk at a time
T = TypeVar("T")


class Spilled(Sequence[T]):
    """Items in the order in which they came; the first ones in memory, the others in a temporary file.

    The file has no name and ends with this object. An item from disk is a new object each time. In memory, it takes the
    eight bytes that say where it lies.

    Args:
        items: the first items.
        dump, load: item -> bytes, and back. Nobody else can write the file, so that pickle is safe here.
        memory: how many items stay in memory.
    """

    def __init__(
        self,
        items: Iterable[T] = (),
        *,
        dump: Callable[[T], bytes] = pickle.dumps,
        load: Callable[[bytes], T] = pickle.loads,
        memory: int = MEMORY,
    ) -> None:
        self._dump, self._load, self._memory = dump, load, memory
        self._first: list[T] = []
        self._ends = array("Q", [0])  # of the items on disk
        self._file: Any = None
        self._at_end = True  # the file's position
        self._lock = threading.Lock()
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add an item at the end."""
        if len(self._first) < self._memory:
            self._first.append(item)
            return
        data = self._dump(item)
        with self._lock:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
            if not self._at_end:
                self._file.seek(self._ends[-1])
            self._file.write(data)
            self._at_end = True
            self._ends.append(self._ends[-1] + len(data))

    def __len__(self) -> int:
        return len(self._first) + len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Spilled[T]: ...
    def __getitem__(self, index: int | slice) -> T | Spilled[T]:
        places = range(len(self))[index]
        if isinstance(places, int):
            return self._first[places] if places < len(self._first) else self._at(places - len(self._first))
        if places == range(len(self)):
            return self
        return Spilled((self[place] for place in places), dump=self._dump, load=self._load, memory=self._memory)

    def __iter__(self) -> Iterator[T]:
        yield from self._first
        place = 0
        while place < len(self._ends) - 1:  # a block at a time, since each read costs more than its bytes
            last = min(place + _BLOCK, len(self._ends) - 1)
            data, start = self._bytes(place, last), self._ends[place]
            for one in range(place, last):
                yield self._load(data[self._ends[one] - start : self._ends[one + 1] - start])
            place = last

    def _at(self, place: int) -> T:
        return self._load(self._bytes(place, place + 1))

    def _bytes(self, place: int, last: int) -> bytes:
        """The bytes of the items from `place` up to `last`."""
        with self._lock:
            self._file.seek(self._ends[place])
            self._at_end = False
            data: bytes = self._file.read(self._ends[last] - self._ends[place])
        return data
