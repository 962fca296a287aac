"""Notice when a file makes Python start a process or look up a name: an audit hook that can be switched on and off."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

WATCHED = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "ctypes.dlopen",
)
_lists: list[list[str]] = []


def _hook(event: str, arguments: Any) -> None:
    if _lists and event in WATCHED:
        _lists[-1].append(event)


sys.addaudithook(_hook)  # for good: Python has no way to take one away


@contextmanager
def watching() -> Iterator[list[str]]:
    """Events of the block, as they happen; the innermost watch sees them."""
    _lists.append([])
    try:
        yield _lists[-1]
    finally:
        _lists.pop()
