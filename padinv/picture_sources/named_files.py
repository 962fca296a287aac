"""Pictures that are named one by one, or by several folders and patterns."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from padinv.picture_sources.source import PictureSource, printable
from padinv.runtime.batch.find_inputs import gather
from padinv.runtime.errors import InputError
from padinv.runtime.files import open_regular
from padinv.runtime.images.limits import MAX_FILE_BYTES


class NamedFiles(PictureSource):
    """Picture files, folders of them and glob patterns, as `padinv invert` takes them.

    Args:
        paths: what a person typed; names are distinct, and in the order of the names.

    Raises:
        InputError: a path does not exist, or there is no picture.

    Example:
        source = NamedFiles(["a.jpg", "more/*.png"])
        pixels = source.read(0, 256)  # uint8 [256, 256, 3]
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        found = gather(paths)
        named = ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
        if found.problems:
            path, why = found.problems[0]
            raise InputError(f"{printable(str(path))} {why}, so nothing was read")
        if not found.files:
            raise InputError(f"no pictures found in {printable(named)}")
        self.path = named
        self._files = sorted(found.files, key=lambda one: one.name)

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        return self._files[index].name

    def names_digest(self) -> str:
        return hashlib.sha256(b"\0".join(os.fsencode(one.name) for one in self._files)).hexdigest()

    @property
    def title(self) -> str:
        return Path(self.name(0)).name if len(self) == 1 else f"{len(self)}-pictures"

    def label(self, index: int) -> str:
        return printable(str(self._files[index].path))

    def sizes(self) -> np.ndarray:
        try:
            return np.array([os.stat(one.path).st_size for one in self._files], np.uint64)
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror or error}") from error

    def data(self, index: int) -> bytes:
        try:
            with open_regular(self._files[index].path) as file:
                if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                    raise InputError(f"{self.label(index)} is larger than {MAX_FILE_BYTES >> 20} MiB")
                return file.read()
        except OSError as error:
            raise InputError(f"{self.label(index)} cannot be read: {error.strerror or error}") from error
