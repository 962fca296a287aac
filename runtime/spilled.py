"""Sequences whose later items lie on disk: a run over a million files takes the memory of one over a thousand."""

from __future__ import annotations

import pickle
import tempfile
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

MEMORY = 1000  # items that stay in memory, as they are
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
            self._file.seek(self._ends[-1])
            self._file.write(data)
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
            return self._first[places] if places < len(self._first) else self._read(places - len(self._first))
        if places == range(len(self)):
            return self
        return Spilled((self[place] for place in places), dump=self._dump, load=self._load, memory=self._memory)

    def __iter__(self) -> Iterator[T]:
        return (self[place] for place in range(len(self)))

    def _read(self, place: int) -> T:
        start, end = self._ends[place], self._ends[place + 1]
        with self._lock:
            self._file.seek(start)
            data = self._file.read(end - start)
        return self._load(data)
