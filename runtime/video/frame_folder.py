"""A folder of pictures as a clip: its frames in the order of their names."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from padinv.runtime.batch.folder_walk import is_contact_sheet, is_hidden, is_image_name
from padinv.runtime.errors import InputError, UsageError
from padinv.runtime.files import digest
from padinv.runtime.images import read_image
from padinv.runtime.video.clip import Frame, check_frame_count, check_frame_size

MAX_RATE = 1000.0


class FrameFolder:
    """The pictures of one folder; see `Clip`. Folders inside it are left out.

    Raises:
        InputError: no pictures, or too many. UsageError: a rate out of range.
    """

    def __init__(self, path: Path, rate: float) -> None:
        if not (math.isfinite(rate) and 0 < rate <= MAX_RATE):
            raise UsageError(f"frames per second must be above 0 and at most {MAX_RATE:g}, not {rate:g}")
        self.path, self.rate = path, rate
        self.name = path.name or path.resolve().name
        self.files = _pictures(path)
        if not self.files:
            raise InputError(f"{path} holds no pictures, so nothing was done", code="empty")
        check_frame_count(len(self.files), path)
        self.expected = len(self.files)
        _, self.size = read_image(self.files[0])

    def identity(self) -> dict[str, Any]:
        states = [(file.name, (status := os.stat(file)).st_size, status.st_mtime_ns) for file in self.files]
        return {"path": os.path.abspath(self.path), "files": digest(states), "rate": self.rate}

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `Clip.frames`. `native` is the picture's path."""
        for index in range(start, len(self.files) if stop is None else min(stop, len(self.files))):
            file = self.files[index]
            image, size = read_image(file)
            check_frame_size(size, file)
            if size != self.size:
                raise InputError(
                    f"{file} has {size[0]} x {size[1]} pixels, and the frames before it have {self.size[0]} x "
                    f"{self.size[1]}, so they are not one clip; nothing was made of them"
                )
            yield Frame(index, index / self.rate, file, partial(np.asarray, image, np.uint8))

    def close(self) -> None:
        """Nothing stays open between frames."""


def _pictures(folder: Path) -> list[Path]:
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror or error}; nothing was done") from error
    names = [name for name in entries if is_image_name(name) and not is_hidden(name)]
    return [folder / name for name in names if not is_contact_sheet(folder / name)]
