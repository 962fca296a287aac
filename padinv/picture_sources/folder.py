"""A folder with its sub-folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from padinv.picture_sources.packed_names import PackedNames
from padinv.picture_sources.rules import is_contact_sheet, is_hidden, is_output_folder, is_picture_name
from padinv.picture_sources.source import PictureSource, printable
from padinv.runtime.errors import InputError
from padinv.runtime.files import open_regular
from padinv.runtime.images import SUFFIXES, prepare, read_image
from padinv.runtime.images.limits import MAX_FILE_BYTES


class FolderSource(PictureSource):
    """The pictures below a folder, sorted by their names relative to it.

    Hidden files and folders, folders that hold results of padinv, sample grids of a training and contact sheets are
    passed over; links are followed, each folder once. A folder that cannot be listed is named in `notes`.

    Attributes:
        notes: what could not be listed, a sentence each.

    Raises:
        InputError: the folder itself cannot be listed, or holds no picture.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = self._root = Path(path)
        self.notes: list[str] = []
        names = PackedNames()
        for name in self._walk():
            names.append(os.fsencode(name))
        names.sort()
        self._names = names
        if not len(names):
            hint = f"; {self.notes[0]}" if self.notes else ""
            raise InputError(f"{self.path} holds no picture ({', '.join(sorted(SUFFIXES))}){hint}")

    def _walk(self) -> Iterator[str]:
        seen: set[tuple[int, int]] = set()
        pending: list[str] = [""]
        linked: list[str] = []
        while pending or linked:
            below = pending.pop() if pending else linked.pop()
            folder = self._root / below
            try:
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as entries:
                    if below and is_output_folder(folder):
                        continue
                    for entry in entries:
                        name = f"{below}/{entry.name}" if below else entry.name
                        if is_hidden(entry.name):
                            continue
                        if entry.is_dir():
                            (linked if entry.is_symlink() else pending).append(name)
                        elif is_picture_name(entry.name) and not is_contact_sheet(entry):
                            yield name
            except OSError as error:
                reason = error.strerror or str(error)
                if not below:
                    raise InputError(f"{self.path} cannot be read: {reason}") from error
                self.notes.append(f"{printable(str(folder))} cannot be listed ({reason}), so it was passed over")

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

    def read(self, index: int, size: int) -> np.ndarray:
        image, full = read_image(self._root / self.name(index), enough=3 * size)
        return prepare(image, size, "crop", full).pixels
