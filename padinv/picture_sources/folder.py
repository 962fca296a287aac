"""A folder with its sub-folders."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from padinv.picture_sources.packed_names import PackedNames
from padinv.picture_sources.resizing import square_pixels
from padinv.picture_sources.source import PictureSource, printable
from padinv.runtime.batch.folder_walk import FolderWalk, unread_sentence
from padinv.runtime.errors import InputError
from padinv.runtime.files import open_regular
from padinv.runtime.images import SUFFIXES, read_image
from padinv.runtime.images.limits import MAX_FILE_BYTES


class FolderSource(PictureSource):
    """The pictures below a folder, sorted by their names relative to it.

    `FolderWalk` says which files count.

    Attributes:
        notes: what could not be listed or has a format that is not read, a sentence each.

    Raises:
        InputError: the folder itself cannot be listed, or holds no picture.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = self._root = Path(path)
        walk = FolderWalk(self._root, ordered=False)
        names = PackedNames()
        for name in walk:
            names.append(os.fsencode(name))
        names.sort()
        self._names = names
        if walk.problems and walk.problems[0][0] == str(self._root):
            raise InputError(f"{self.path} {walk.problems[0][1]}")
        self.notes = [f"{printable(place)} {why}, so it was passed over" for place, why in walk.problems]
        if unread := unread_sentence(printable(str(path)), walk.unread):
            self.notes.append(unread)
        if not len(names):
            hint = f"; {self.notes[0]}" if self.notes else ""
            raise InputError(f"{self.path} holds no picture ({', '.join(sorted(SUFFIXES))}){hint}")

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        return os.fsdecode(self._names[index])

    def names_digest(self) -> str:
        return self._names.digest()

    def label(self, index: int) -> str:
        return f"{self.path}/{printable(self.name(index))}"

    def sizes(self) -> np.ndarray:
        try:
            return np.fromiter(
                (os.stat(self._root / os.fsdecode(n)).st_size for n in self._names), np.uint64, len(self)
            )
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def data(self, index: int) -> bytes:
        try:
            with open_regular(self._root / self.name(index)) as file:
                if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                    raise InputError(f"{self.label(index)} is larger than {MAX_FILE_BYTES >> 20} MiB")
                return file.read()
        except OSError as error:
            raise InputError(f"{self.label(index)} cannot be read: {error.strerror or error}") from error

    def read(self, index: int, size: int, resize: str = "lanczos") -> np.ndarray:
        image, full = read_image(self._root / self.name(index), enough=3 * size if resize == "lanczos" else None)
        return square_pixels(image, size, full, resize)
