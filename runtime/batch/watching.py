"""Which pictures of a folder are new and complete, by looking again and again; and what is done with them.

A file counts as complete when its size and its time of change were the same at two looks in a row. One that grows
again afterwards, or is replaced, is done again. Polling needs no package, and works on network drives.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from padinv.runtime.batch.engine import Event
from padinv.runtime.batch.find_inputs import Found
from padinv.runtime.batch.folder_walk import FolderWalk

Signature = tuple[int, int]  # bytes, time of the last change in nanoseconds
Process = Callable[[Sequence[Found]], Generator[Event, None, None]]
_logger = logging.getLogger("padinv")


class NewPictures:
    """Finds the pictures below a folder that nobody has been given yet.

    Args:
        folder: searched recursively, by the rules of `FolderWalk`.
        out: folder of the results, never read from.
    """

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder, self.out = folder, out
        self._seen: dict[str, Signature] = {}
        self._given: dict[str, Signature] = {}
        self._problems: set[str] = set()

    def look(self) -> list[Found]:
        """The pictures that became complete since the last look."""
        now = self._signatures()
        # A picture that went away and came back is new.
        self._given = {name: one for name, one in self._given.items() if name in now}
        ready = [name for name, one in now.items() if self._seen.get(name) == one != self._given.get(name)]
        self._seen = now
        self._given.update({name: now[name] for name in ready})
        return [Found(str(self.folder / name), name) for name in ready]

    def _signatures(self) -> dict[str, Signature]:
        walk = FolderWalk(self.folder, skip=self.out)
        found: dict[str, Signature] = {}
        for name in walk:
            try:
                status = os.stat(self.folder / name)
            except OSError:
                continue  # gone again
            if status.st_size:
                found[name] = (status.st_size, status.st_mtime_ns)
        for place, why in walk.problems:  # a drive that comes and goes is named once
            if place not in self._problems:
                self._problems.add(place)
                _logger.warning("%s %s; watching goes on", place, why)
        return found


def watch(
    pictures: NewPictures,
    process: Process,
    stop: threading.Event,
    *,
    interval: float,
    batch_size: int,
) -> Generator[Event, None, None]:
    """Process new pictures until `stop` is set, which ends the work after the batch at hand.

    Args:
        process: does a batch of files, one event for each.
        interval: seconds between two looks at the folder. Where looking takes longer than that, so does the pause.

    Raises:
        OutputError, BundleError, BackendError: of `process`.
    """
    while not stop.is_set():
        started = time.monotonic()
        ready = pictures.look()
        spent = time.monotonic() - started
        for at in range(0, len(ready), batch_size):
            if stop.is_set():
                return
            yield from process(ready[at : at + batch_size])
        stop.wait(max(interval, spent))
