"""What a clip is, whatever it is stored as: frames in order, each with its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from padinv.runtime.errors import InputError, UsageError

MAX_FRAMES = 200_000  # about an hour at 50 frames per second
MAX_SIDE, MAX_FRAME_PIXELS = 8192, 36_000_000  # 8192 x 4320 passes
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg", ".ogv"},
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        index: counted from 0.
        time: seconds from the first frame.
        native: the frame as its source holds it: PyAV's, upright, or the path of a picture.
        convert: makes `pixels` of it.
    """

    index: int
    time: float
    native: Any
    convert: Callable[[], np.ndarray]

    @cached_property
    def pixels(self) -> np.ndarray:
        """uint8 RGB [H, W, 3], upright; converted on first use, so that frames which only pass through never are."""
        return self.convert()


class Clip(Protocol):
    """A source of frames.

    Attributes:
        path: file or folder. name: file or folder name, by which results are called.
        size: (w, h) of the upright frames.
        rate: frames per second, nominally.
        expected: how many frames there are, as far as that is known before they are read.
    """

    path: Path
    name: str
    size: tuple[int, int]
    rate: float
    expected: int

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """The frames from `start` on, `stop` excluded; read one at a time.

        Raises:
            InputError: a frame cannot be read, or has another size; there are too many.
        """
        ...

    def identity(self) -> dict[str, Any]:
        """Where it lies and what it was when it was opened, JSON-ready; a change of it makes new results."""
        ...

    def close(self) -> None: ...


def find_clips(paths: Sequence[str | Path], fps: float | None = None) -> list[Path]:
    """The clips among what a person named: video files by their suffix, and folders where `fps` is given.

    Args:
        fps: frames per second of folders of frames; None: folders hold separate pictures.

    Raises:
        UsageError: clips and pictures together, or `fps` without a folder.
    """
    named = [Path(path) for path in paths]
    clips = [path for path in named if is_clip(path, fps)]
    others = [path for path in named if path not in clips]
    if clips and others:
        raise UsageError(
            f"{clips[0]} is a clip, and {others[0]} is not; edit clips and pictures with one command each; nothing was "
            "done"
        )
    if fps is not None and not any(path.is_dir() for path in clips):
        raise UsageError("--fps takes a folder that holds the frames of a clip, and none was given")
    return clips


def is_clip(path: Path, fps: float | None = None) -> bool:
    """Whether a path is a video file by its suffix, or a folder of frames because `fps` is given."""
    if path.is_dir():
        return fps is not None
    return path.suffix.lower() in VIDEO_SUFFIXES


def check_frame_size(size: tuple[int, int], name: object) -> None:
    """Refuse frames that are too large.

    Raises:
        InputError
    """
    w, h = size
    if min(size) < 1:
        raise InputError(f"{name} has no picture, so nothing was done")
    if max(size) > MAX_SIDE or w * h > MAX_FRAME_PIXELS:
        raise InputError(
            f"{name} has frames of {w} x {h} pixels, more than the limit of {MAX_SIDE} a side and "
            f"{MAX_FRAME_PIXELS // 1_000_000} million in all, so it was not read; reduce it first"
        )


def check_frame_count(count: int, name: object) -> None:
    """Refuse a clip of too many frames.

    Raises:
        InputError
    """
    if count > MAX_FRAMES:
        raise InputError(
            f"{name} has more than {MAX_FRAMES:,} frames, so it was not finished; cut it into shorter clips"
        )
