"""A lock on a folder that goes when its process goes, and that is never mistaken for a file system without locks."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LOCK_NAME = ".lock"
QUIET_LOCK_NAME = ".padinv-lock"
_HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK})
log = logging.getLogger("padinv")


class FolderInUseError(Exception):
    """Another process holds the lock."""


@contextmanager
def quiet_folder_lock(folder: Path | str, *, shared: bool = False) -> Iterator[bool]:
    """Like `folder_lock`, but it locks the folder itself, so that no lock file stays among somebody's results.

    Where a folder cannot be locked (Windows, NFS), it falls back to a lock file.

    Args:
        shared: several processes may hold the lock together, and none of them together with one that is not shared.
            Where only a lock file works, there is no lock then.

    Raises:
        FolderInUseError: another process holds it, or took the folder away while this one asked.
        OSError: the folder or lock file cannot be opened.
    """
    if os.name == "nt" and shared:  # pragma: no cover
        yield False
        return
    if os.name == "nt":  # pragma: no cover
        with folder_lock(folder, QUIET_LOCK_NAME) as locked:
            yield locked
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD - {errno.EACCES}:
                raise FolderInUseError(str(folder)) from error
            if shared:
                yield False
                return
            with folder_lock(folder, QUIET_LOCK_NAME) as locked:
                yield locked
            return
        if not os.path.exists(folder) or not os.path.samestat(os.fstat(handle), os.stat(folder)):
            raise FolderInUseError(str(folder))  # an empty folder, which the run that made it removed just now
        yield True
    finally:
        os.close(handle)


@contextmanager
def folder_lock(folder: Path | str, name: str = LOCK_NAME) -> Iterator[bool]:
    """Hold the lock file `name` in a folder; the file stays, the lock ends with the block or the process.

    The lock file is never removed: a process that waits for a removed file would lock nothing.

    Yields:
        whether there is a lock. Some file systems (Lustre without flock, many FUSE ones) have none; then a warning is
        logged, and the work continues without it.

    Raises:
        FolderInUseError: another process holds it.
        OSError: the lock file cannot be made.

    Example:
        with folder_lock("runs/first"):
            ...
    """
    path = Path(folder) / name
    with open(path, "ab") as file:
        try:
            _acquire(file)
        except OSError as error:
            if error.errno in _HELD:
                raise FolderInUseError(str(folder)) from error
            log.warning(
                "%s is on a file system without locks (%s), so nothing keeps a second command out of it",
                folder,
                error.strerror or error,
            )
            yield False
            return
        try:
            yield True
        finally:
            _release(file)


if os.name == "nt":  # pragma: no cover

    def _acquire(file: BinaryIO) -> None:
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]

    def _release(file: BinaryIO) -> None:
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]

else:

    def _acquire(file: BinaryIO) -> None:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(file: BinaryIO) -> None:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)
