"""The pictures of a folder or a ZIP archive, read one by one and never unpacked to disk."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from padinv.runtime.errors import InputError
from padinv.runtime.images.preparing import prepare
from padinv.runtime.images.reading import MAX_FILE_BYTES, SUFFIXES, read_image, read_image_bytes

MAX_MEMBERS = 10_000_000
MAX_MEMBER_RATIO = 1_000  # a picture that unpacks to more than this many times its size is an attack


def printable(name: str) -> str:
    """A name from an archive, fit for a terminal: control characters and overlong parts replaced."""
    clean = "".join(c if c.isprintable() else "?" for c in name)
    return clean if len(clean) <= 200 else f"{clean[:100]}...{clean[-90:]}"


class PictureSource:
    """The pictures of a folder (with its sub-folders) or of a ZIP archive, sorted by name.

    Nothing is unpacked to disk. Archives are read member by member, so names that lead elsewhere do no harm.

    Raises:
        InputError: missing, unreadable, or without a picture.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        self._owner = -1  # the process that opened `_zip`: a file handle must not be shared after a fork
        try:
            if self.path.is_dir():
                self.names, self.is_zip = self._walk(), False
            elif self.path.is_file():
                self.names, self.is_zip = self._members(), True
            else:
                raise InputError(f"{self.path} does not exist; --data takes a folder or a ZIP archive of pictures")
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from error
        if not self.names:
            raise InputError(f"{self.path} holds no picture ({', '.join(sorted(SUFFIXES))})")

    def _walk(self) -> list[str]:
        def fail(error: OSError) -> None:
            raise error

        found = []
        for folder, _, files in os.walk(self.path, onerror=fail):
            inside = Path(folder).relative_to(self.path)
            found += [(inside / name).as_posix() for name in files if Path(name).suffix.lower() in SUFFIXES]
        return sorted(found)

    def _archive(self) -> zipfile.ZipFile:
        if self._zip is None or self._owner != os.getpid():
            try:
                self._zip, self._owner = zipfile.ZipFile(self.path), os.getpid()
            except zipfile.BadZipFile as error:
                raise InputError(f"{self.path} is neither a folder nor a readable ZIP archive ({error})") from error
        return self._zip

    def _members(self) -> list[str]:
        members = self._archive().infolist()
        if len(members) > MAX_MEMBERS:
            raise InputError(f"{self.path} has more than {MAX_MEMBERS:,} members, so it was not read")
        hidden = ("__MACOSX",)
        return sorted(
            {
                m.filename
                for m in members
                if not m.is_dir()
                and PurePosixPath(m.filename).suffix.lower() in SUFFIXES
                and not m.filename.startswith(hidden)
            }
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_zip": None, "_owner": -1}

    def label(self, index: int) -> str:
        """The picture's place, for messages."""
        return (
            f"{self.path}/{printable(self.names[index])}"
            if not self.is_zip
            else (f"{printable(self.names[index])} in {self.path}")
        )

    def read(self, index: int, size: int) -> np.ndarray:
        """Decode a picture, crop it to a centred square, resize it: uint8 RGB [size, size, 3].

        Raises:
            InputError: damaged, too large, or not a picture.
        """
        label = self.label(index)
        if not self.is_zip:
            image, full = read_image(self.path / self.names[index], enough=3 * size)
            return prepare(image, size, "crop", full).pixels
        try:
            archive = self._archive()
            info = archive.getinfo(self.names[index])
            if info.file_size > MAX_FILE_BYTES or info.file_size > MAX_MEMBER_RATIO * max(1, info.compress_size):
                raise InputError(f"{label} unpacks to {info.file_size >> 20} MiB, so it was not read")
            data = archive.read(info)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{label} cannot be unpacked: {' '.join(str(error).split())[:160]}") from error
        except Exception as error:
            if type(error).__module__ in ("zlib", "_lzma", "lzma"):  # damaged compressed data
                raise InputError(f"{label} cannot be unpacked: {error}") from error
            raise
        image, full = read_image_bytes(data, label, enough=3 * size)
        return prepare(image, size, "crop", full).pixels

    def content_hash(self) -> str:
        """A hash that changes when pictures change: of an archive's names and checksums, or of a folder's names, sizes
        and times of change; nothing is decoded.

        Raises:
            InputError: a file disappeared.
        """
        digest = hashlib.sha256()
        try:
            for name in self.names:
                if self.is_zip:
                    info = self._archive().getinfo(name)
                    facts = (info.file_size, info.CRC)
                else:
                    status = os.stat(self.path / name)
                    facts = (status.st_size, status.st_mtime_ns)
                digest.update(f"{name}\0{facts}\0".encode("utf-8", "surrogateescape"))
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from error
        return digest.hexdigest()[:16]

    def fingerprint(self) -> str:
        """A hash of the names: the same run must go on with the same pictures in the same order."""
        return hashlib.sha256("\0".join(self.names).encode("utf-8", "surrogateescape")).hexdigest()[:16]
