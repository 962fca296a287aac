"""Which file an input is, and in which state it was read: a change of either makes new results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from padinv.runtime.files import sha256_bytes
from padinv.runtime.safetensors_file import is_safetensors

STANDARD_INPUT = "-"
_piped: dict[str, str] = {}  # absolute path of a temporary file -> SHA-256 of what came through standard input


class Identity(NamedTuple):
    """Where a file lies and what it was.

    Attributes:
        place: its absolute path, or '-' for standard input.
        size: bytes; None where it cannot be read.
        version: time of its last change in nanoseconds, or the hash of standard input; None where it cannot be read.
    """

    place: str
    size: int | None
    version: int | str | None


def identity_of(path: Path | str) -> Identity:
    """The identity of a file, or of what `keep_standard_input` wrote, which is the same in every run."""
    place = os.path.abspath(path)
    try:
        status = os.stat(path)
    except OSError:
        return Identity(place, None, None)  # reading it will say why
    if place in _piped:
        return Identity(STANDARD_INPUT, status.st_size, _piped[place])
    return Identity(place, status.st_size, status.st_mtime_ns)


def keep_standard_input(data: bytes, folder: Path) -> Path:
    """Write what came through standard input into a private folder, so that every reader of files can read it."""
    path = folder / ("stdin.safetensors" if is_safetensors(data[:64]) else "stdin")
    path.write_bytes(data)
    _piped[os.path.abspath(path)] = sha256_bytes(data)
    return path


def forget_standard_input(path: Path) -> None:
    """The file is gone; another one may get its name."""
    _piped.pop(os.path.abspath(path), None)
