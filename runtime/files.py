"""Files: atomic writes (a file is either whole or not there), hashes, and reading what comes from outside."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from padinv.runtime.errors import InputError, OutputError, UsageError

TEMPORARY_PREFIX = ".padinv-"
_TEMPORARY = re.compile(r"\.padinv-(\d+)-\w+\.tmp(\.\w+)?\Z")
_STARTED = time.time()
_OLD_SECONDS = 86_400
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
    prefix = f"{TEMPORARY_PREFIX}{os.getpid()}-"  # by the number, leftovers of a killed process are known
    suffix = target.suffix if len(target.suffix) <= 16 else ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=f".tmp{suffix}", dir=target.parent)
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
    except Exception as error:
        if reason := _write_failure(error, target):
            raise OutputError(f"cannot write {target}: {reason}") from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_failure(error: BaseException, target: Path) -> str | None:
    """Why a file could not be written, whatever the library that wrote it calls that; None for other errors."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if match := re.search(r"\(os error (\d+)\)", str(error)):  # safetensors
        return os.strerror(int(match[1]))
    if "PytorchStreamWriter failed" in str(error) or "unexpected pos" in str(error):  # torch does not say why
        with suppress(OSError, AttributeError):
            if os.statvfs(target.parent).f_bavail == 0:
                return os.strerror(errno.ENOSPC)
        return "the file could not be written to its end (is the disk full?)"
    return None


def sweep(folder: Path | str, *, recursive: bool = True) -> None:
    """Remove the temporary files that killed processes left in a folder, and in the folders below it."""
    for parent, folders, names in os.walk(folder):
        if not recursive:
            folders.clear()
        for name in names:
            if (match := _TEMPORARY.match(name)) and _is_leftover(Path(parent, name), int(match[1])):
                with suppress(OSError):
                    os.unlink(Path(parent, name))


def _is_leftover(path: Path, process: int) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return False
    if age > _OLD_SECONDS:
        return True
    if process == os.getpid():  # in containers, numbers come again: ours are younger than this process
        return age > time.time() - _STARTED + 1
    if os.name == "nt":  # there, asking for a process would end it
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


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


def read_regular(path: Path | str, limit: int) -> bytes:
    """All bytes of a regular file from outside, which may be at most `limit` bytes long.

    Raises:
        OSError: see `open_regular`; or it is longer, `strerror` says so.
    """
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit >> 20} MiB", str(path))
    return data


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


def require_utf8(path: Path | str, what: str) -> None:
    """Refuse a name that is not UTF-8, for writers that take only such names; `what` is the option it was given with.

    Raises:
        UsageError: its bytes are not UTF-8.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} {path} is not a UTF-8 name, which TensorBoard needs; choose another name") from error


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
