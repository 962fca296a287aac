"""Files: atomic writes (a file is either whole or not there), hashes, and reading what comes from outside."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from padinv.runtime.errors import InputError, OutputError

TEMPORARY_PREFIX = ".padinv-"
_MAX_DIGITS = 40  # of an integer in JSON; more can only be meant to break something

# Read once: asking for the umask means setting it, which is not safe while other threads make files.
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success fsync it and rename it onto `target`.

    When the block raises, the temporary file is removed and `target` is left as it was. The temporary name keeps the
    suffix (writers choose a format by it) and is short, so any name that is legal for `target` works.

    Raises:
        OutputError: the folder cannot be created or written.
    """
    target = Path(target)
    suffix = target.suffix if len(target.suffix) <= 16 else ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=f".tmp{suffix}", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; choose another output folder") from error
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp makes private files; results are ordinary ones
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def open_regular(path: Path | str) -> io.BufferedReader:
    """Open a file from outside for reading, if it is a regular one (links are followed).

    Pipes, sockets and devices are refused before anything is read: a pipe would wait for ever for a writer, and
    `/dev/zero` never ends.

    Raises:
        OSError: missing, not readable, a folder, or not a regular file; `strerror` says which.
    """
    # Without O_NONBLOCK, opening a pipe already waits. It changes nothing for regular files.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file (a pipe, a device or a socket)", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def require_files(*paths: Path | str | None, folders: bool = False) -> None:
    """Refuse to start where files are missing; all of them are named at once. None stands for an option left out.

    Args:
        folders: whether a folder (a bundle, a run) may stand in a file's place.

    Raises:
        InputError: the missing ones, or the first that cannot be read.
    """
    given = [Path(path) for path in paths if path is not None]
    if missing := [str(path) for path in given if not path.exists()]:
        verb = "does" if len(missing) == 1 else "do"
        raise InputError(f"{', '.join(missing)} {verb} not exist, so nothing was done")
    for path in given:
        if folders and path.is_dir():
            continue
        try:
            open_regular(path).close()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def fill(buffer: bytearray, file: io.BufferedIOBase, start: int) -> bool:
    """Fill `buffer` from byte `start` of a file on; False where the file ends before (it may have become shorter)."""
    file.seek(start)
    view, done = memoryview(buffer), 0
    while done < len(buffer):
        count = file.readinto(view[done:])
        if not count:
            return False
        done += count
    return True


def write_bytes(target: Path | str, data: bytes) -> None:
    """Write `data` to `target` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: Path | str, text: str) -> None:
    """Write `text` to `target` atomically, as UTF-8. Bytes of a file name that are no UTF-8 become question marks."""
    write_bytes(target, text.encode("utf-8", errors="replace"))


def write_json(target: Path | str, value: Any) -> None:
    """Write `value` to `target` atomically, as indented JSON."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def parse_json(text: str | bytes) -> Any:
    """JSON from outside.

    Raises:
        ValueError: not JSON, nested too deeply, or with integers of absurd length (they would break arithmetic later).
    """
    try:
        return json.loads(text, parse_int=_parse_int)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _parse_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"it holds an integer of {len(digits)} digits")
    return int(digits)


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of `data`, as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of a JSON-ready value: what decides a result, without spelling it out in the result."""
    return sha256_bytes(json.dumps(value, sort_keys=True).encode())


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as 64 lower-case hex digits."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
