"""Where each record of a results log lies: an index on disk, so that memory does not grow with the log."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

Record = dict[str, Any]
Key = tuple[str, str]  # verb, name
Entry = tuple[Key, int, int, int]  # number of the file, where the line starts, its length
_PAGE = 1000  # entries that are read from the index at a time


class RecordIndex:
    """Records by verb and name, which stay in the files that hold them; the newest one of a name counts.

    The index is a temporary SQLite database, which no other process sees and which ends with this object. Any thread
    may use it.
    """

    def __init__(self) -> None:
        self._files: list[BinaryIO] = []
        self._numbers: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1024"):
            self._db.execute(f"PRAGMA {setting}")
        # Names are bytes, because a file's name need not be text; their order is that of their code points.
        self._db.execute(
            "CREATE TABLE records (verb BLOB, name BLOB, file INTEGER, start INTEGER, length INTEGER, "
            "PRIMARY KEY (verb, name)) WITHOUT ROWID"
        )
        self._db.execute("BEGIN")

    def open(self, path: Path) -> int:
        """Open a file of records, once; its number.

        Raises:
            OSError
        """
        if path not in self._numbers:
            self._files.append(open(path, "rb"))  # noqa: SIM115
            self._numbers[path] = len(self._files) - 1
        return self._numbers[path]

    def put(self, entries: Iterable[Entry]) -> None:
        """Say where the newest records are."""
        rows = ((*map(_bytes, key), *place) for key, *place in entries)
        with self._lock:
            self._db.executemany("REPLACE INTO records VALUES (?, ?, ?, ?, ?)", rows)

    def get(self, key: Key) -> Record | None:
        """The newest record of a name."""
        with self._lock:
            query = "SELECT file, start, length FROM records WHERE verb = ? AND name = ?"
            row = self._db.execute(query, tuple(map(_bytes, key))).fetchone()
            line = None if row is None else self._line(*row)
        return None if line is None else _record(line)

    def __len__(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM records").fetchone()[0])

    def lines(self, verb: str | None = None, file: int | None = None) -> Iterator[bytes]:
        """The newest lines as they are, by verb and name, without the line's end.

        Args:
            verb: only these. file: only those that this file holds.
        """
        after = (b"", b"")
        wanted = (None if verb is None else _bytes(verb), file)
        query = (
            "SELECT verb, name, file, start, length FROM records WHERE (verb, name) > (?, ?) "
            "AND verb = coalesce(?, verb) AND file = coalesce(?, file) ORDER BY verb, name LIMIT ?"
        )
        while True:
            with self._lock:
                rows = self._db.execute(query, (*after, *wanted, _PAGE)).fetchall()
                lines = [self._line(*row[2:]) for row in rows]
            if not rows:
                return
            yield from lines
            after = rows[-1][:2]

    def values(self, verb: str | None = None) -> Iterator[Record]:
        """The newest records, by verb and name."""
        return (_record(line) for line in self.lines(verb))

    def _line(self, file: int, start: int, length: int) -> bytes:
        self._files[file].seek(start)
        return self._files[file].read(length)

    def close(self) -> None:
        """Forget everything."""
        for file in self._files:
            file.close()
        self._db.close()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _record(line: bytes) -> Record:
    record: Record = json.loads(line)
    return record
